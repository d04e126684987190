"""Two towers over shared latents, of other widths, written to a store and opened by the one reader."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.base import FitContext, LabelledRows, PairedRows
from reelstore.align.pairing import LabelledPairs
from reelstore.fitting import validation_mrr
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

VIDEO_DIM, TEXT_DIM, LATENT_DIM = 24, 16, 6
N_VIDEOS, CAPTIONS_PER_VIDEO = 150, 3


def write(folder: Path, side: str, keys: list, values: np.ndarray) -> Rows:
    spec = VariantSpec(side, f"fake-{side}", "mean", values.shape[1], 0, "float16", {"weights": "none"})
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, ["train"] * len(keys), row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(folder / side / f"fake-{side}" / "mean", spec, table)
    for row in update.todo:
        update.put(int(row), values[row].astype(np.float32))
    update.finish()
    return open_variant(folder / side / f"fake-{side}" / "mean")


def write_tokens(folder: Path, keys: list, tokens: list, n_tokens: int | None) -> Rows:
    """Captions whose tokens are these, (n_tokens, dim) each, in a dense or, without n_tokens, ragged variant."""
    return write_as_tokens(folder, "text", keys, tokens, n_tokens)


def write_as_tokens(folder: Path, side: str, keys: list, tokens: list, n_tokens: int | None) -> Rows:
    spec = VariantSpec(side, f"fake-{side}", "tokens", tokens[0].shape[1], n_tokens, "float16", {"weights": "none"})
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, ["train"] * len(keys), row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(folder / side / f"fake-{side}" / "tokens", spec, table)
    for row in update.todo:
        update.put(int(row), tokens[row].astype(np.float32))
    update.finish()
    return open_variant(folder / side / f"fake-{side}" / "tokens")


@pytest.fixture
def write_side():
    """(folder, side, keys, values) -> rows of a pooled variant."""
    return write


@pytest.fixture
def write_variant(tmp_path: Path):
    """(layout, values) -> rows of captions `(v0, 0)`, `(v1, 0)`, …"""

    def write_variant(layout: str, values) -> Rows:
        keys = [(f"v{number}", 0) for number in range(len(values))]
        if layout == "pooled":
            return write(tmp_path / "drawn", "text", keys, values)
        return write_tokens(tmp_path / "drawn", keys, values, len(values[0]) if layout == "dense" else None)

    return write_variant


class Towers:
    """150 videos with three captions each, both sides far off centre; `part(start, stop)` is some of them, paired."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        latents = rng.normal(size=(N_VIDEOS, LATENT_DIM))
        told = np.repeat(latents, CAPTIONS_PER_VIDEO, axis=0)
        video = latents @ rng.normal(size=(LATENT_DIM, VIDEO_DIM)) + 0.3 * rng.normal(size=(N_VIDEOS, VIDEO_DIM)) + 3
        text = told @ rng.normal(size=(LATENT_DIM, TEXT_DIM)) + 0.3 * rng.normal(size=(len(told), TEXT_DIM)) - 2
        ids = [f"v{number}" for number in range(N_VIDEOS)]
        self.videos = write(folder, "video", ids, video)
        keys = [(v, index) for v in ids for index in range(CAPTIONS_PER_VIDEO)]
        self.captions = write(folder, "text", keys, text)
        self.video_tokens = write_as_tokens(folder, "video", ids, [around(rng, row, 3) for row in video], 3)
        told_tokens = [around(rng, row, int(rng.integers(1, 5))) for row in text]
        self.caption_tokens = write_as_tokens(folder, "text", keys, told_tokens, None)

    def part(self, start: int, stop: int, *, shuffled: bool = False, tokens: bool = False) -> PairedRows:
        """Videos start (inclusive) to stop (exclusive); shuffled gives each the captions of another.

        `tokens` are dense on the videos' side and ragged on the captions', around what is pooled elsewhere.
        """
        videos, captions = (self.video_tokens, self.caption_tokens) if tokens else (self.videos, self.captions)
        owners = np.arange(start, stop)
        told = np.random.default_rng(1).permutation(owners) if shuffled else owners
        return PairedRows(
            video=videos.select([f"v{owner}" for owner in owners]),
            text=captions.select([(f"v{owner}", index) for owner in told for index in range(CAPTIONS_PER_VIDEO)]),
            video_of_caption=np.repeat(np.arange(stop - start), CAPTIONS_PER_VIDEO),
        )

    def labelled(self, start: int, stop: int) -> PairedRows:
        """The same and for each pair a negative one: its video with a caption of the next video."""
        positive = self.part(start, stop)
        n = stop - start
        others = [(f"v{start + (n + 1 + owner) % n}", 0) for owner in positive.video_of_caption.tolist()]
        captions = [*positive.text.ids, *others]
        at = {key: number for number, key in enumerate(dict.fromkeys(captions))}
        labelled = LabelledPairs(
            np.tile(positive.video_of_caption, 2),
            np.array([at[key] for key in captions]),
            np.repeat([1.0, 0.0], len(others)),
        )
        rows = LabelledRows(video=positive.video, text=self.captions.select(list(at)), pairs=labelled)
        return replace(positive, labelled=rows)


def around(rng: np.random.Generator, row: np.ndarray, n_tokens: int) -> np.ndarray:
    return row + 0.1 * rng.normal(size=(n_tokens, len(row)))


@pytest.fixture(scope="package")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    return Towers(tmp_path_factory.mktemp("towers") / "store" / "drawn")


@pytest.fixture
def context(tmp_path: Path) -> FitContext:
    return FitContext(tmp_path / "checkpoints")


@pytest.fixture
def validate():
    return validation_mrr
