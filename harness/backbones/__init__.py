"""Pretrained models: finding, fetching, converting and loading them."""
