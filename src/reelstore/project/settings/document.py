"""A YAML file -> plain values and the line of each key, within bounds, before anything is made of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reelstore.errors import DamagedFileError, ParamsError
from reelstore.io import decoded, read_bytes
from reelstore.settings import shown, where

MAX_BYTES = 250_000
"""Limit for the file; this repository's has 4,000, and YAML is slow to read."""
MAX_CHARACTERS = 1_000_000
"""Limit for its values as they would be without aliases."""
MAX_DEPTH = 32
"""Limit for mappings and lists inside one another."""

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number for YAML 1.2, and so for DVC; YAML 1.1 takes 1e-3 and 1e12 for text."""


@dataclass(frozen=True)
class Document:
    """A YAML file's values.

    Attributes:
        values: plain ones: text, numbers, true or false, null, lists and mappings whose keys are text.
        lines: dotted key -> its line, from 1.
    """

    values: Any
    lines: Mapping[str, int] = field(repr=False)

    def line(self, key: str) -> int | None:
        """Line of a dotted key, or of the nearest key above it that is there."""
        while key not in self.lines:
            key, dot, _ = key.rpartition(".")
            if not dot:
                return None
        return self.lines[key]


def read_document(path: Path) -> Document:
    """The values of a YAML file.

    Raises:
        ParamsError: it isn't UTF-8 or YAML, is too large, or says something that can be read in two ways; the message
            has the line.
        IrregularFileError, OSError: it isn't a regular file, isn't there, or can't be read.
    """
    try:
        text = decoded(read_bytes(path, at_most=MAX_BYTES), path)
    except DamagedFileError as error:
        raise ParamsError(str(error)) from None
    return parse_document(text, str(path))


def parse_document(text: str, source: str) -> Document:
    """The values of a YAML text; errors as of `read_document`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{source}{_place(error)} isn't valid YAML: {_problem(error)}.") from None
    except RecursionError:
        raise ParamsError(f"{source} is nested too deeply; at most {MAX_DEPTH} levels are expected.") from None
    reading = _Reading(source)
    return Document(None if node is None else reading.value(node, ()), reading.lines)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the numbers of YAML 1.2."""


_Loader.add_implicit_resolver(_TAG + "float", re.compile(rf"^(?:{_EXPONENT.pattern})$"), list("-+0123456789."))


@dataclass
class _Reading:
    """One pass over a composed text."""

    source: str
    lines: dict[str, int] = field(default_factory=dict)
    n_characters: int = 0
    _open: list[int] = field(default_factory=list)

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self.n_characters += 2 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self.n_characters > MAX_CHARACTERS:
            self._refuse(node, path, f"with all that aliases repeat, it has more than {MAX_CHARACTERS:,} characters")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._refuse(node, path, "an alias repeats the very value that it is in")
        if len(self._open) == MAX_DEPTH:
            self._refuse(node, path, f"it is nested in more than {MAX_DEPTH} levels")
        self._open.append(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            value = [self.value(item, path) for item in node.value]
        else:
            self._refuse(node, path, f"the tag {node.tag} isn't for settings")
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        own: dict[str, int] = {}
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, below in node.value:
            if key.tag == _TAG + "merge":
                for mapping in self._merged(below, path):
                    merged = {**mapping, **merged}
                continue
            name = key.value
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                what = shown(name) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                self._refuse(key, path, f"the key {what} isn't text. Put it in quotes if it is meant as text")
            line = key.start_mark.line + 1
            if name in own:
                self._refuse(key, (*path, name), f"the key is there twice, on lines {own[name]} and {line}. Keep one")
            own[name] = line
            self.lines[".".join((*path, name))] = line
            values[name] = self.value(below, (*path, name))
        return {**merged, **values}

    def _merged(self, node: yaml.Node, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """What `<<` brings; of several, the first counts."""
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(one, yaml.MappingNode):
                self._refuse(one, path, "`<<` takes mappings")
            yield self.value(one, path)

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        text = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return self._boolean(node, path)
            case "int":
                return self._whole(node, path)
            case "float":
                return self._float(node, path)
            case "timestamp":
                self._refuse(node, path, f"YAML takes {text} for a date. Put it in quotes if it is meant as text")
        self._refuse(node, path, f"the tag {node.tag} isn't for settings")

    def _boolean(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> bool:
        text = node.value.lower()
        if text not in ("true", "false"):
            self._refuse(
                node, path, f"{shown(node.value)} is a truth value to some YAML readers and text to others. "
                "Write true or false, or put it in quotes"
            )  # fmt: skip
        return bool(text == "true")

    def _whole(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> int:
        text = node.value
        if not _DECIMAL.fullmatch(text):
            self._refuse(
                node, path, f"{shown(text)} is one number to some YAML readers and another, or text, to others. "
                "Write it in decimal digits, or put it in quotes if it is meant as text"
            )  # fmt: skip
        if len(text) > 400:
            self._refuse(node, path, f"a number of {len(text)} digits; whole numbers are from -2^63 to 2^63 - 1")
        return int(text)

    def _float(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> float:
        text = node.value
        try:
            number = float(text)  # not .inf, .nan, 1_0.5 and 1:30.5
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf") or "_" in text:
            self._refuse(
                node, path, f"{shown(text)} is no finite decimal number. Write it as 0.5 or 1.0e-3, or in quotes"
            )
        return number

    def _refuse(self, node: yaml.Node, path: tuple[str, ...], problem: str) -> Any:
        key = ".".join(path)
        raise ParamsError(f"{self.source}, line {node.start_mark.line + 1}: {where(key)}{problem}.", key=key)


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}," if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ", ".join(part for part in (error.context, error.problem) if part)
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character U+{error.character:04X} can't be in it"
    return " ".join(str(error).split())
