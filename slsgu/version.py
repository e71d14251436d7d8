"""The version of slsgu."""

__version__ = "0.1.0"
