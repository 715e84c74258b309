"""A tiny pretrained encoder that travels with the package, so that everything runs with no network."""
