"""One job, or a pack of them, in a worker: from a ticket to outcomes."""
