"""The version, for the wheel and every upload."""

__version__ = "0.1.0"
