"""What other packages cost, each in an environment of its own; see `__main__.py`."""
