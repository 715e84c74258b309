"""The Python interface: the functions and classes that `harness` exports."""
