"""Numbers -> a page for people."""
