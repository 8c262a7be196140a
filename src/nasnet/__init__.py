"""NASNet-A feature vectors."""

__version__ = "0.1.0"
