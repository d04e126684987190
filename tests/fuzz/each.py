"""Every way to cut a file, to write it in another encoding, and to give one of its values another type.

Other changes are drawn; these are listed, so that each file and setting can be tried with each of them.
"""

import datetime
import json
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import yaml

from .content import Change

TEXT_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".txt", ".svg")
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 7,
    "a negative number": -1,
    "65 bits": 2**64,
    "a float": 1.5,
    "a text": "x",
    "a number as text": "7",
    "an empty text": "",
    "a date": datetime.date(2020, 1, 1),
    "an empty list": [],
    "a list": ["x", 1, None],
    "an empty mapping": {},
    "a mapping": {"x": 1},
}
GONE = "nothing"
CELLS = (
    "",
    "null",
    "true",
    "7",
    "-1",
    "1.5",
    "1e3",
    str(2**64),
    "x",
    " x",
    "2020-01-01",
    "['x', 'y']",
    "{}",
    '"x',
    "é",
)


def changes_of(path: Path) -> dict[str, Change]:
    """All of them that make sense for a file, by its name."""
    changes = {f"cut {name}": _bytes(cut) for name, cut in CUTS.items()}
    suffix = path.suffix.lower()
    if suffix not in TEXT_ENDINGS:
        return changes
    changes |= {f"cut {name}": _text(cut) for name, cut in TEXT_CUTS.items()}
    changes |= {f"as {name}": _bytes(encode) for name, encode in ENCODINGS.items()}
    swaps = {".json": _json_swaps, ".jsonl": _line_swaps, ".csv": _cell_swaps, ".yaml": _yaml_swaps}
    return changes | dict(swaps[suffix](path) if suffix in swaps else [])


def _bytes(change: Callable[[bytes], bytes]) -> Change:
    return lambda rng, path: (path.write_bytes(change(path.read_bytes())), None)[1]


def _text(change: Callable[[str], str]) -> Change:
    return _bytes(lambda content: change(content.decode("utf-8", "replace")).encode())


# Cuts, at each kind of boundary.


def _after(text: str, *pieces: str) -> str:
    """Up to the first of these pieces, with it."""
    places = [text.index(piece) + len(piece) for piece in pieces if piece in text]
    return text[: min(places, default=len(text) // 2)]


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "to nothing": lambda content: b"",
    "to a byte": lambda content: content[:1],
    "to 4 bytes": lambda content: content[:4],
    "to 8 bytes": lambda content: content[:8],
    "to 16 bytes": lambda content: content[:16],
    "to a half": lambda content: content[: len(content) // 2],
    "by a byte": lambda content: content[:-1],
    "by 4 bytes": lambda content: content[:-4],
    "by 8 bytes": lambda content: content[:-8],
    "by 16 bytes": lambda content: content[:-16],
}
TEXT_CUTS: dict[str, Callable[[str], str]] = {
    "after a line": lambda text: _after(text, "\n"),
    "in a line": lambda text: text[: max(1, len(_after(text, "\n")) // 2)],
    "in the last line": lambda text: text[: (len(text.rstrip("\n")) + text.rstrip("\n").rfind("\n")) // 2],
    "after a comma": lambda text: _after(text, ","),
    "after a colon": lambda text: _after(text, ":"),
    "after a bracket": lambda text: _after(text, "{", "["),
    "after a quote": lambda text: _after(text, '"'),
    "before a bracket": lambda text: text[: max(text.rfind("}"), text.rfind("]"), 0)],
    "in an escape": lambda text: _after(text, '"') + "\\u00",
    "in an escape that ends": lambda text: _after(text, '"') + '\\ud83d"',
    "in a number": lambda text: _after(text, ":") + " -",
}

# Encodings, and what else happens to bytes of text on its way.


def _encoded(encoding: str, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(encoding, "replace")


def _accented(encoding: str, content: bytes) -> bytes:
    """With a letter that the encoding writes in a way of its own."""
    return _encoded(encoding, content.replace(b"a", "é".encode(), 1))


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    **{name: partial(_encoded, name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7")},
    **{f"{name} with an accent": partial(_accented, name) for name in ("latin-1", "cp1252", "mac-roman", "utf-8")},
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "CR": lambda content: content.replace(b"\n", b"\r"),
    "mixed ends of lines": lambda content: content.replace(b"\n", b"\r\n", 1),
    "two marks": lambda content: b"\xef\xbb\xbf" * 2 + content,
    "half a character": lambda content: content.replace(b"a", b"\xc3", 1),
    "half a pair": lambda content: content.replace(b"a", b"\xed\xa0\xbd", 1),
    "an overlong character": lambda content: content.replace(b"a", b"\xc1\xa1", 1),
    "NULs": lambda content: content.replace(b"a", b"\0", 1),
    "gzip": lambda content: b"\x1f\x8b\x08\0" + content,
    "no-break spaces": lambda content: content.replace(b" ", "\u00a0".encode()),
    "separators of lines": lambda content: content.replace(b" ", "\u2028".encode(), 1),
}

# Values of another type.


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values are; of a list its first and its last item."""
    yield path
    keys = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1}) if isinstance(value, list) else []
    for key in keys if value else []:
        yield from places(value[key], (*path, key))


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A value with another one at a place; mappings above it are made where they aren't there."""
    if not path:
        return other
    at = value
    for key in path[:-1]:
        if isinstance(at, dict) and not isinstance(at.get(key), dict | list):
            at[key] = {}
        at = at[key]
    if other is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = other
    return value


def _named(path: tuple[Any, ...], name: str) -> str:
    return f"{'.'.join(map(str, path)) or 'all of it'} becomes {name}"


def _swaps(value: Any) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    for path in places(value):
        for name, other in VALUES.items():
            yield _named(path, name), path, other
        if path:
            yield _named(path, GONE), path, GONE


def _json_swaps(path: Path) -> Iterator[tuple[str, Change]]:
    for name, place, other in _swaps(json.loads(path.read_text())):
        yield name, partial(_swap_json, place, other)


def _swap_json(place: tuple[Any, ...], other: Any, rng: random.Random, path: Path) -> None:
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, other), default=str))


def _line_swaps(path: Path) -> Iterator[tuple[str, Change]]:
    lines = path.read_text().splitlines()
    for number in (0, len(lines) - 1):
        for name, place, other in _swaps(json.loads(lines[number])):
            yield f"line {number + 1}: {name}", partial(_swap_line, number, place, other)


def _swap_line(number: int, place: tuple[Any, ...], other: Any, rng: random.Random, path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(put(json.loads(lines[number]), place, other), default=str)
    path.write_text("\n".join(lines) + "\n")


def _cell_swaps(path: Path) -> Iterator[tuple[str, Change]]:
    rows = path.read_text().splitlines()
    for number in sorted({0, 1, len(rows) - 1}):
        for at in range(len(rows[number].split(","))):
            for cell in (*CELLS, GONE, "a, b", "x,"):
                yield f"line {number + 1}, cell {at + 1} becomes {cell!r}", partial(_swap_cell, number, at, cell)


def _swap_cell(number: int, at: int, cell: str, rng: random.Random, path: Path) -> None:
    rows = path.read_text().splitlines()
    cells = rows[number].split(",")
    cells[at : at + 1] = [] if cell is GONE else [cell]
    rows[number] = ",".join(cells)
    path.write_text("\n".join(rows) + "\n")


def _yaml_swaps(path: Path) -> Iterator[tuple[str, Change]]:
    """Of every setting there is, be it in the file or not."""
    value = yaml.safe_load(path.read_text())
    known = [place for place in settings(value) if place not in {*places(value)}]
    for name, place, other in _swaps(value):
        yield name, partial(_swap_yaml, place, other)
    for place in known:
        for name, other in VALUES.items():
            yield _named(place, name), partial(_swap_yaml, place, other)


def _swap_yaml(place: tuple[Any, ...], other: Any, rng: random.Random, path: Path) -> None:
    path.write_text(yaml.safe_dump(put(yaml.safe_load(path.read_text()), place, other), sort_keys=False))


def settings(params: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every setting of params.yaml, of the encoders and aligners that it names too."""
    from reelstore.align.registry import all_settings
    from reelstore.project.settings import Params
    from reelstore.settings import Settings

    found: list[tuple[str, ...]] = []
    for section, field in Params.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Settings):
            found += [(section, one) for one in type(default).model_fields]
        else:
            kinds = _kinds(field.annotation)
            kind = next((one for one in kinds if isinstance(one, type) and issubclass(one, Settings)), None)
            names = params.get(section) or {"x": None}
            found += [(section, name) for name in names]
            found += [(section, name, one) for name in names for one in (kind.model_fields if kind else [])]
    for name, values in (params.get("aligners") or {}).items():
        found += [("aligners", name, setting) for setting in all_settings(values)]
    for section_name in ("encoders", "streams"):
        for name in params.get(section_name) or {}:
            found += [(section_name, name, option) for option in (*_options(name), "batch_size", "keep")]
    return list(dict.fromkeys(found))


def _kinds(annotation: Any) -> list[Any]:
    return [inner for part in get_args(annotation) for inner in (part, *_kinds(part))]


@cache
def _options(encoder: str) -> tuple[str, ...]:
    from reelstore.encoders.registry import ENCODERS

    module, _, attribute = ENCODERS[encoder].partition(":")
    return tuple(signature(getattr(import_module(module), attribute)).parameters)
