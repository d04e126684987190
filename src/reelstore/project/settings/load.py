"""params.yaml -> frozen values, checked once, at the border."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelstore.errors import ParamsError
from reelstore.project.settings.document import Document, read_document
from reelstore.project.settings.params import Params
from reelstore.settings import parsed, shown


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Params from a YAML file; what is unknown, of the wrong kind or out of range is an error with its key and line.

    Raises:
        ParamsError: the file isn't there, isn't YAML, or its values aren't params.
        IrregularFileError, OSError: it isn't a regular file, or can't be read.
    """
    return params_of(load_document(path), source=str(path))


def load_document(path: Path = Path("params.yaml")) -> Document:
    """The file's values, not yet checked, and the line of each; errors as of `load_params`."""
    try:
        return read_document(path)
    except FileNotFoundError:
        raise ParamsError(f"No {path} here. Run reelstore from the project's folder, the one with dvc.yaml.") from None


def params_of(document: Document, *, source: str) -> Params:
    """Params from a file's values; errors name the line."""
    try:
        return parse_params({} if document.values is None else document.values, source=source)
    except ParamsError as error:
        line = document.line(error.key)
        if line is None:
            raise
        raise ParamsError(f"{source}, line {line}: {error}", key=error.key) from None


def parse_params(raw: Mapping[str, Any], *, source: str = "params") -> Params:
    """Params from plain values, as read from YAML."""
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{source} must be a mapping, not {shown(raw)}.")
    return parsed(Params, raw)
