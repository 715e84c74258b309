"""When and where jobs run: the loop of `bench run`, its display, and the executors."""
