"""Ways of running branches, one a file. A file ``NAME.py`` here registers execution NAME."""
