"""How a stage says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with rows done and rows to do."""
