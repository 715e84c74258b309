"""Run jobs and store their results."""
