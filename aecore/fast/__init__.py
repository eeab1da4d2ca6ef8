"""Faster layers for the networks: `models.py` does not know them."""
