"""The command line: each module parses options, calls one function of `harness.commands` and prints."""
