"""What there is to compute: from the options of a command to a plan of jobs."""
