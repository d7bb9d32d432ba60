"""The version, in one place: the wheel and every upload tell it."""

__version__ = "0.1.0"
