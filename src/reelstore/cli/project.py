"""The project that a command is run in: its params.yaml, read when the command runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelstore.project.settings import Params


def load_params() -> "Params":
    """Params of the project in the current folder; errors as of `reelstore.project.settings.load_params`."""
    from reelstore.project.settings import load_params

    return load_params()
