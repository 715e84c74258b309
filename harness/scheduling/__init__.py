"""When and where jobs run: the scheduler, its progress display and the executors."""
