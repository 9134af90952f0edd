"""The language of the house: what is measured, how, and what was seen. Imports no torch."""

__version__ = "0.1.0"
