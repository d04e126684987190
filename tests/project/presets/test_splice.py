"""A spliced value is there afterwards, as an oracle says, and every line beside it is as it was."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import PresetError
from reelstore.project.presets.splice import snippets, spliced, with_value

PARAMS = """\
# Of everything.
dataset:   # which
  name: emoji  # names folders
  splits: {train: 0.7, test: 0.3}
  # seeds
  seed: 0   # of the splits

# What is embedded.
encoders:
  video/a: {n_frames: 8}   # frames
  text/b:
    layers:
    - 1
    - 2   # last
# Nothing yet.
streams: {}   # pooled

evaluate: {split: test, ks: [1, 5]}
"""


def put(text: str, key: str, written: str) -> str:
    """`written` at `key`; what comes out says what an oracle on plain values says."""
    preset = f"description: d\nvalues:\n  {key}:{written}\n"
    snippet = snippets(preset, "values")[key]
    assert snippet.value == yaml.safe_load(preset)["values"][key]
    result = spliced(text, key, snippet)
    assert yaml.safe_load(result) == with_value(yaml.safe_load(text) or {}, key, snippet.value)
    return result


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_single_key_keeps_its_comment_and_all_other_lines() -> None:
    after = put(PARAMS, "dataset.name", " msrvtt")
    assert changed_lines(PARAMS, after) == (["  name: emoji  # names folders"], ["  name: msrvtt  # names folders"])


def test_a_section_is_replaced_with_its_comments_and_the_next_one_keeps_its_own() -> None:
    after = put(PARAMS, "encoders", "\n    # the model's\n    video/x: {keep: [mean]}\n    text/y: {}  # short")
    gone = ["  video/a: {n_frames: 8}   # frames", "  text/b:", "    layers:", "    - 1", "    - 2   # last"]
    new = ["  # the model's", "  video/x: {keep: [mean]}", "  text/y: {}  # short"]
    assert changed_lines(PARAMS, after) == (gone, new)
    assert after.index("# Nothing yet.") > after.index("text/y")


def test_a_block_takes_the_place_of_an_empty_mapping_below_its_comment() -> None:
    after = put(PARAMS, "streams", "\n    video/x: {keep: [mean]}")
    assert "streams:  # pooled\n  video/x: {keep: [mean]}\n\nevaluate" in after


def test_a_key_is_added_behind_its_siblings() -> None:
    after = put(PARAMS, "dataset.kind", " folder")
    assert "  seed: 0   # of the splits\n  kind: folder\n\n# What is embedded." in after


def test_a_key_between_braces_stays_between_braces() -> None:
    assert "evaluate: {split: validation, ks: [1, 5]}" in put(PARAMS, "evaluate.split", " validation")
    assert "evaluate: {split: test, ks: [1, 5], more: {a: 1}}" in put(PARAMS, "evaluate.more", "\n    a: 1")


def test_sections_that_are_missing_or_empty_are_made() -> None:
    assert put(PARAMS, "aligners.mlp", " {kind: mlp}").endswith("\n\naligners:\n  mlp: {kind: mlp}\n")
    assert "streams:  # pooled\n  video/x: {keep: [mean]}" in put(PARAMS, "streams.video/x", " {keep: [mean]}")
    assert put("", "a.b", " 1") == "a:\n  b: 1\n"
    assert put("a:", "a", " 1") == "a: 1"


def test_line_ends_of_windows_stay() -> None:
    after = put(PARAMS.replace("\n", "\r\n"), "encoders", "\n    video/x: {}\n    text/y: {}")
    assert after.count("\r\n") == after.count("\n")


def test_a_part_of_the_key_that_is_no_mapping_is_refused() -> None:
    snippet = snippets("values:\n  evaluate.split.name: 1\n", "values")["evaluate.split.name"]
    with pytest.raises(PresetError, match=r"evaluate\.split isn't a mapping"):
        spliced(PARAMS, "evaluate.split.name", snippet)


NAMES = st.sampled_from(["a", "video/b", "c-d", "on", "1"])
LEAVES = st.one_of(st.integers(), st.booleans(), st.text("ab: #'\"{-", max_size=6), st.lists(st.integers(), max_size=2))
VALUES: Any = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(
    before=st.dictionaries(NAMES, VALUES, max_size=4),
    value=VALUES,
    key=st.lists(NAMES, min_size=1, max_size=3),
    flow=st.tuples(*[st.sampled_from([None, True, False])] * 2),
)
def test_any_value_at_any_key_of_any_mapping(before: dict, value: Any, key: list[str], flow: tuple) -> None:
    parent: Any = before
    for name in key[:-1]:
        parent = parent.get(name, {}) if isinstance(parent, dict) else None
    if not isinstance(parent, dict):
        return
    text = yaml.safe_dump(before, default_flow_style=flow[0], sort_keys=False)
    preset = yaml.safe_dump({"values": {".".join(key): value}}, default_flow_style=flow[1], sort_keys=False)
    result = spliced(text, ".".join(key), snippets(preset, "values")[".".join(key)])
    assert yaml.safe_load(result) == with_value(before, ".".join(key), value)
