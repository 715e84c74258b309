"""Tables in files: reading them, and the checks of their cells."""
