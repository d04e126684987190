"""Commands grouped by subject; cli.py registers them."""
