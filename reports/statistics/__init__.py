"""Statistics as pure functions on arrays. Each names its source."""
