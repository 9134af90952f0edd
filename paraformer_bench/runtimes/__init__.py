"""Ways of launching a callable, one a file. A file ``NAME.py`` here registers runtime NAME."""
