"""Files that belong together: an interruption while they get their names, errors that name them, what is removed."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reelstore.errors import OccupiedError
from reelstore.io import remove_files, replace_together, write_atomically
from reelstore.store.staging import Staging

NAMES = ("first", "second", "last")


@pytest.mark.parametrize("call", range(1, 6))
def test_a_stop_while_files_get_their_names_loses_nothing(tmp_path: Path, monkeypatch, call: int) -> None:
    paths = [tmp_path / name for name in NAMES]
    replace_together({path: b"old" for path in paths})
    made = 0

    def interrupted(original):
        def once(*args, **kwargs):
            nonlocal made
            made += 1
            if made == call:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return once

    monkeypatch.setattr(os, "unlink", interrupted(os.unlink))
    monkeypatch.setattr(os, "replace", interrupted(os.replace))
    with pytest.raises(KeyboardInterrupt):
        replace_together({path: b"new" for path in paths})
    assert [path.read_bytes() for path in paths] == [b"new"] * 3
    assert len(list(tmp_path.iterdir())) == 3


def test_none_stands_for_a_file_that_goes(tmp_path: Path) -> None:
    replace_together({tmp_path / name: b"old" for name in NAMES})
    replace_together({tmp_path / "first": b"new", tmp_path / "second": None, tmp_path / "never": None})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"first": b"new", "last": b"old"}


def test_a_folder_in_the_way_of_one_leaves_all_as_they_were(tmp_path: Path) -> None:
    replace_together({tmp_path / name: b"old" for name in NAMES[:2]})
    (tmp_path / "last").mkdir()
    with pytest.raises(OccupiedError, match="last is a folder"):
        replace_together({tmp_path / name: b"new" for name in NAMES})
    assert [(tmp_path / name).read_bytes() for name in NAMES[:2]] == [b"old"] * 2
    assert len(list(tmp_path.iterdir())) == 3


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may have more than 100 bytes: for as short as possible, as pytest's output may be one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [write_atomically, lambda path, content: replace_together({path: content})])
def test_where_there_is_no_room_the_error_names_the_output_and_nothing_is_left(tmp_path, write) -> None:
    (tmp_path / "found.json").write_text("old")
    with pytest.raises(OSError, match=r"File too large: '.*/found\.json'$"), no_room():
        write(tmp_path / "found.json", bytes(200))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"found.json": "old"}


def test_only_staged_files_leave_a_staging_folder(tmp_path: Path) -> None:
    theirs = ["model.safetensors", "plan.json.bak", "notes.txt", "download.partial"]
    task = "0123456789abcdef01234567.safetensors"
    for name in [*theirs, "plan.json", task, f"{task}.12-ab.partial", "plan.json.12-ab.partial"]:
        (tmp_path / name).write_bytes(b"")
    Staging(tmp_path).clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


def test_removing_files_enters_no_link(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.tsv").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    remove_files(tmp_path / "link", "*.tsv")
    remove_files(tmp_path, "link")
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["a.tsv"]
    assert not (tmp_path / "link").is_symlink()
