"""A preset into params.yaml: its values and nothing else, at once or not at all."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reelstore.errors import ParamsError, PresetError
from reelstore.io import atomic_output, copy_mode, decoded, read_bytes, write_new
from reelstore.project.presets.catalogue import load_preset
from reelstore.project.presets.splice import spliced, with_value
from reelstore.project.settings import load_document, params_of, parse_params
from reelstore.project.settings.document import MAX_BYTES, parse_document

_NOTHING = object()


@dataclass(frozen=True)
class Change:
    """A value that isn't what it was; None where there was or will be none."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"  + {self.key}: {_short(self.after)}"
        if self.after is None:
            return f"  - {self.key}: {_short(self.before)}"
        return f"    {self.key}: {_short(self.before)} -> {_short(self.after)}"


@dataclass(frozen=True)
class PresetReport:
    """What applying a preset changes, and whether that was written."""

    name: str
    path: Path
    changes: tuple[Change, ...]
    written: bool

    def summary(self) -> str:
        """Lines for people."""
        if not self.changes:
            return f"{self.path} is as {self.name} wants it; nothing changes."
        verb = "applied to" if self.written else "would change"
        return "\n".join([f"{self.name} {verb} {self.path}:", *map(str, self.changes)])


def apply_preset(name: str, *, path: Path = Path("params.yaml"), dry_run: bool = False) -> PresetReport:
    """Write a preset's values into params.yaml.

    Args:
        name: of the preset.
        path: the file; a link is followed within its folder.
        dry_run: say what would change, and write nothing.

    Raises:
        UnknownNameError: there is no such preset.
        ParamsError: params.yaml isn't valid, or wouldn't be with the preset in it; it stays as it was.
    """
    preset = load_preset(name)
    document = load_document(path)
    params_of(document, source=str(path))
    content = read_bytes(path, at_most=MAX_BYTES)
    mark = BOM_UTF8 if content.startswith(BOM_UTF8) else b""
    text = decoded(content, path)
    before: dict[str, Any] = document.values or {}
    after = before
    for key, snippet in preset.values.items():
        if _value_at(after, key) != snippet.value:
            text = spliced(text, key, snippet)
            after = with_value(after, key, snippet.value)
    _check(text, after, name=name, path=path)
    changes = tuple(_changes(before, after, ""))
    if changes and not dry_run:
        real = path.resolve()
        if real.parent != path.parent.resolve():
            raise PresetError(
                f"{path} is a link to {real}, outside of this folder. Nothing was written; put a copy of it here."
            )
        _replace(real, mark + text.encode())
    return PresetReport(name, path, changes, written=not dry_run)


def _check(text: str, expected: Mapping[str, Any], *, name: str, path: Path) -> None:
    """The text must say what was meant, and be params; an anchor that went with a section shows here."""
    try:
        found = parse_document(text, str(path)).values
    except ParamsError as error:
        raise PresetError(
            f"{path} couldn't be read any more with {name} in it: {error} Nothing was written; "
            f"edit it by hand, after `reelstore preset show {name}`."
        ) from error
    if found != expected:
        raise PresetError(
            f"{path} is written in a way that {name} can't be put into. Nothing was written; edit it by hand, after "
            f"`reelstore preset show {name}`."
        )
    try:
        parse_params(expected, source=str(path))
    except ParamsError as error:
        raise PresetError(f"With {name}, {path} would be wrong: {error} Nothing was written.") from error


def _replace(path: Path, content: bytes) -> None:
    with atomic_output(path) as partial:
        write_new(partial, [content])
        copy_mode(path, partial)


def _value_at(values: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return _NOTHING
        values = values[name]
    return values


def _changes(before: Any, after: Any, key: str) -> Iterator[Change]:
    """Where two values differ, key by key."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after:
            yield Change(key, before, after)
        return
    for name in [*before, *(name for name in after if name not in before)]:
        yield from _changes(before.get(name), after.get(name), f"{key}.{name}" if key else str(name))


def _short(value: Any) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return written.removesuffix("\n").removesuffix("\n...")
