"""Compressing images with autoencoders: models, corruption, training and analysis."""

__version__ = "0.1.0"
