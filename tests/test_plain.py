"""Plain values as types: what fits is made, what doesn't is refused with its place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from reelstore.errors import DamagedFileError
from reelstore.plain import read_typed, typed


@dataclass(frozen=True)
class Inner:
    level: Literal["ok", "bad"]
    value: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: list[Inner]
    ends: tuple[tuple[int, int], ...] = ()
    note: str | None = None
    more: Mapping[str, Any] | None = None


def test_a_mapping_becomes_a_dataclass_all_the_way_down():
    value = {"name": "x", "inner": [{"level": "ok", "value": 1}], "ends": [[0, 2]], "more": {"a": [1, None]}}
    assert typed(value, Outer, "f") == Outer("x", [Inner("ok", 1.0)], ((0, 2),), None, {"a": [1, None]})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "name is 3; text is expected"),
        ({"name": None}, "name is null"),
        ({"inner": {}}, "inner is a mapping; a list is expected"),
        ({"inner": [{"level": "fine"}]}, r"inner\[0\].level is 'fine'; ok or bad is expected"),
        ({"inner": [{"level": "ok", "value": True}]}, r"inner\[0\].value is true; a number"),
        ({"inner": [{"level": "ok", "value": 2**70}]}, "more than 64 bits"),
        ({"inner": [{"level": "ok", "value": float("nan")}]}, "is nan; a number"),
        ({"inner": [{}]}, r"inner\[0\].level is missing"),
        ({"ends": [[0, 1.5]]}, r"ends\[0\]\[1\] is 1.5; a whole number"),
        ({"ends": [[0]]}, r"ends\[0\] is a list; a list of 2"),
        ({"other": 1}, "'other'; one of name, inner"),
        ({"more": {"a": 10**400}}, "more"),
    ],
    ids=str,
)
def test_another_type_is_refused_with_its_place(change, says):
    with pytest.raises(DamagedFileError, match=f"f.json: .*{says}"):
        typed({"name": "x", "inner": [], **change}, Outer, "f.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b"\xff", b'"\\ud800"', b"1e999", b"NaN", b"9" * 6000, b"[]", b"null"],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_no_such_value_is_refused_by_name(tmp_path: Path, content: bytes):
    path = tmp_path / "about.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"about\.json"):
        read_typed(path, Outer)


def test_what_json_keeps_comes_back(tmp_path: Path):
    value = {"a": [1, 2.5, "ü", None, True, {"b": []}]}
    (tmp_path / "any.json").write_text(json.dumps(value))
    assert read_typed(tmp_path / "any.json", dict[str, Any]) == value
