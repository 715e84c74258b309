"""Running jobs and keeping results."""
