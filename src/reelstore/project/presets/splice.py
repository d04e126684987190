"""A value into YAML text at a dotted key; every byte beside it, comments among them, stays."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from reelstore.errors import PresetError
from reelstore.project.settings.document import parse_document

_COMMENT = re.compile(r"[ \t]*(#[^\r\n]*)?(?=[\r\n]|$)")
_STEP = "  "


@dataclass(frozen=True)
class Snippet:
    """A value as it is written: with its comments and line breaks.

    Attributes:
        value: the plain value.
        text: how it is written, its lines starting at column 0.
        block: whether it starts on a line of its own, below its key.
    """

    value: Any
    text: str
    block: bool

    @cached_property
    def flow(self) -> str:
        """The same on one line, for a place between braces."""
        return _in_flow(self.value)

    def under(self, keys: Sequence[str]) -> "Snippet":
        """The value with the mappings that lead to it."""
        snippet = self
        for key in reversed(keys):
            snippet = Snippet({key: snippet.value}, f"{_in_flow(key)}:{snippet.after_key(_STEP)}", True)
        return snippet

    def after_key(self, indent: str, comment: str = "") -> str:
        """What follows `key:` where the value's own lines are indented by `indent`."""
        comment = f"  {comment}" if comment else ""
        lines = self.text.split("\n")
        if self.block:
            return "".join([comment, *(f"\n{indent}{line}".rstrip(" ") for line in lines)])
        return " " + f"\n{indent}".join(lines) + comment


def snippets(text: str, section: str) -> dict[str, Snippet]:
    """Every value of one section of a YAML text, as it is written there."""
    _, values = _pair(_compose(text), section)
    found = {}
    for key, value in values.value:
        start = text.index(":", key.end_mark.index) + 1
        stop = _end(text, value)
        if block := isinstance(value, yaml.CollectionNode) and not value.flow_style:
            start = text.index("\n", start) + 1
            stop = _COMMENT.match(text, stop).end()  # type: ignore[union-attr]  # it also matches nothing
        lines = text[start:stop].split("\n")
        margin = value.start_mark.column if block else key.start_mark.column + len(_STEP)
        dedented = [line[min(margin, len(line) - len(line.lstrip())) :] for line in lines]
        found[key.value] = Snippet(
            parse_document(text[start:stop], key.value).values, "\n".join(dedented).strip(), block
        )
    return found


def spliced(text: str, key: str, snippet: Snippet) -> str:
    """`text` with the snippet's value at a dotted key, which is made where it isn't there.

    Raises:
        PresetError: the text isn't a mapping, or a part of the key leads to something that isn't one.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    keys = key.split(".")
    mapping = _compose(text)
    if mapping is None:
        return _joined(text, snippet.under(keys).text, newline)
    for depth, name in enumerate(keys):
        if not isinstance(mapping, yaml.MappingNode):
            raise PresetError(f"{'.'.join(keys[:depth]) or 'params.yaml'} isn't a mapping; {key} has no place in it.")
        rest = snippet.under(keys[depth + 1 :])
        pair = _pair(mapping, name)
        if pair is None:
            return _inserted(text, mapping, name, rest, newline, is_root=depth == 0)
        if depth == len(keys) - 1 or _is_empty(pair[1]):
            key_node, value = pair
            return _replaced(text, mapping, key_node, value, rest, newline)
        mapping = pair[1]
    raise AssertionError("a key has at least one part")


def with_value(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The plain values with another one at a dotted key."""
    name, _, rest = key.partition(".")
    if not rest:
        return {**values, name: value}
    return {**values, name: with_value(values.get(name) or {}, rest, value)}


def _replaced(
    text: str, mapping: yaml.MappingNode, key: yaml.Node, value: yaml.Node, snippet: Snippet, newline: str
) -> str:
    colon = text.index(":", key.end_mark.index) + 1
    end = max(_end(text, value), colon)
    if mapping.flow_style:
        return f"{text[:colon]} {snippet.flow}{text[end:]}"
    kept = _COMMENT.match(text, colon)
    after = _COMMENT.match(text, end)
    if kept is None or kept[1] is None:
        # A comment behind a value of one line is about the key; behind the last of several it goes with them.
        kept = after if "\n" not in text[colon:end] else None
    end = after.end() if after else end
    written = snippet.after_key(" " * key.start_mark.column + _STEP, (kept[1] or "") if kept else "")
    return text[:colon] + written.replace("\n", newline) + text[end:]


def _inserted(text: str, mapping: yaml.MappingNode, name: str, snippet: Snippet, newline: str, *, is_root: bool) -> str:
    if mapping.flow_style:
        place = _end(text, mapping.value[-1][1]) if mapping.value else mapping.start_mark.index + 1
        return f"{text[:place]}{', ' if mapping.value else ''}{_in_flow(name)}: {snippet.flow}{text[place:]}"
    if is_root:
        return _joined(text, snippet.under([name]).text, newline)
    place = _end(text, mapping.value[-1][1])
    place = _COMMENT.match(text, place).end()  # type: ignore[union-attr]
    margin = " " * mapping.value[0][0].start_mark.column
    written = f"\n{margin}{_in_flow(name)}:{snippet.after_key(margin + _STEP)}"
    return text[:place] + written.replace("\n", newline) + text[place:]


def _joined(text: str, section: str, newline: str) -> str:
    """A section at the end, after an empty line."""
    before = text if not text or text.endswith("\n") else text + newline
    return before + (newline if text else "") + section.replace("\n", newline) + newline


class _PlacedLoader(yaml.SafeLoader):
    """An alias keeps its own place in the text, instead of being what it stands for."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode("alias", event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


def _compose(text: str) -> Any:
    return yaml.compose(text, Loader=_PlacedLoader)


def _pair(mapping: Any, name: str) -> Any:
    """Key and value nodes; of a key that is there twice the last counts, as for those who read the file."""
    return next((pair for pair in reversed(mapping.value) if pair[0].value == name), None)


def _is_empty(node: yaml.Node) -> bool:
    return not node.value and (isinstance(node, yaml.MappingNode) or node.tag == "tag:yaml.org,2002:null")


def _end(text: str, node: yaml.Node) -> int:
    """Where a node's last character was: a block's own mark is that of what comes after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return len(text[:end].rstrip()) if is_block else end


def _in_flow(value: Any) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return written.removesuffix("\n").removesuffix("\n...")
