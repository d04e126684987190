"""How Lightning reads, writes and removes checkpoints: those of one folder, replaced at once, and no other file."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from reelstore.align.training.live_checkpoint import load_checkpoint
from reelstore.errors import AlignerError
from reelstore.io import partial_of


class OwnFiles(TorchCheckpointIO):
    """Checkpoints in one folder.

    A checkpoint keeps the paths of others, which Lightning would remove with all that is below them.

    Args:
        folder: of the training's checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder.absolute()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace a file; what a link with its name leads to stays as it is."""
        partial = partial_of(self._own(path))
        partial.unlink(missing_ok=True)
        super().save_checkpoint(checkpoint, partial, storage_options)
        os.replace(partial, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """What is in a file, nothing of it executed."""
        return load_checkpoint(self._own(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file of the folder."""
        self._own(path).unlink(missing_ok=True)

    def _own(self, path: Any) -> Path:
        """The path, if the file is directly in the folder."""
        found = Path(os.path.abspath(path))
        if found.parent not in (self._folder, Path(os.path.realpath(self._folder))):
            raise AlignerError(f"{str(path)[:200]} isn't a checkpoint in {self._folder}.")
        return found
