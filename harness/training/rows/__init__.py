"""Rows of tokens: examples and texts to write, in batches of similar length."""
