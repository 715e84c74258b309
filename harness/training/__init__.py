"""One job, or several together, in a worker: training, evaluation and outcome."""
