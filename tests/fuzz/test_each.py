"""What is tried of every file and setting: each change is one, and no setting is forgotten."""

import json
import random
from pathlib import Path

import pytest
import yaml

from reelstore.align.registry import ALIGNERS, all_settings, make_aligner
from reelstore.datasets.emoji import EmojiParams
from reelstore.errors import ReelstoreError
from reelstore.project.settings import EmbedParams

from .each import CELLS, CUTS, ENCODINGS, TEXT_CUTS, VALUES, changes_of, places, settings
from .project import MODEL, PARAMS, TEXT, VIDEO

FILES = {
    "a.json": json.dumps({"videos": [{"id": "a", "n": 1}], "kind": "a, b"}),
    "a.jsonl": '{"id": "a", "n": 1}\n{"id": "a", "n": [1, 2]}\n',
    "a.csv": "video_id,caption\na,a man\nb,a dog\n",
    "a.txt": "a: [1],\n",
    "a.npy": "\x93NUMPY of some bytes",
}


@pytest.mark.parametrize("name", FILES)
def test_every_change_can_be_made_of_every_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    changes = changes_of(path)
    same = []
    for what, change in changes.items():
        path.write_text(FILES[name])
        change(random.Random(0), path)
        same += [what] if path.read_bytes() == FILES[name].encode() else []
    assert len(same) < len(changes) / 10, same


def test_numbers_of_changes(tmp_path: Path) -> None:
    n_swaps = {
        "a.json": len(VALUES) * 6 + 5,
        "a.jsonl": len(VALUES) * 8 + 6,
        "a.csv": 3 * 2 * (len(CELLS) + 3),
        "a.txt": 0,
    }
    for name, n in n_swaps.items():
        (tmp_path / name).write_text(FILES[name])
        assert len(changes_of(tmp_path / name)) == len(CUTS) + len(TEXT_CUTS) + len(ENCODINGS) + n, name


def test_every_setting_is_known() -> None:
    known = settings(PARAMS)
    for name, section in (("dataset", EmojiParams), ("embed", EmbedParams)):
        assert {(name, one) for one in section.model_fields} <= {*known}
    assert ("pairs", "x", "max_captions") in known or any(place[0] == "pairs" for place in known)
    assert {("aligners", "mlp", "max_epochs"), ("encoders", f"video/{VIDEO}", "n_frames")} <= {*known}
    assert {("encoders", f"text/{TEXT}", "batch_size"), ("thresholds", f"{MODEL}/ridge")} <= {*known}
    assert {place[0] for place in known} >= {*PARAMS}


def test_a_setting_that_isnt_there_is_put_in(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(PARAMS))
    changes = changes_of(path)
    changes["doctor.allow becomes a date"](random.Random(0), path)
    assert "2020-01-01" in path.read_text() and ("doctor", "allow") in {*places(yaml.safe_load(path.read_text()))}


@pytest.mark.parametrize("kind", ALIGNERS)
def test_a_setting_of_an_aligner_is_taken_or_refused_whatever_its_type(kind: str) -> None:
    n_refused = 0
    for name in [*all_settings({"kind": kind}), "x"]:
        for value in VALUES.values():
            try:
                make_aligner({"kind": kind, name: value}, name="mine")
            except ReelstoreError as error:
                assert len(str(error)) < 700
                n_refused += 1
    assert n_refused > 20
