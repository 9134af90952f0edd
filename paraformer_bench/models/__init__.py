"""Architectures: plain modules, one a file. A file ``NAME.py`` here registers model NAME."""
