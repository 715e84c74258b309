"""What is timed or takes long: run by hand, never by the tests."""
