"""The library as a user's script calls it, in a project's folder: `python NAME` in the catalogue."""

import sys
from collections.abc import Callable
from contextlib import suppress

import numpy as np

import reelstore
from reelstore.cli.border import in_words

from .project import MODEL, TEXT, VIDEO

STORE, VARIANT = "store/python", "text/encoder/mean"
KEYS = [(f"v{number:02}", caption) for number in range(6) for caption in (0, 1)]


def run(words: list[str]) -> None:
    """Make a call; an exception that the library may raise ends with a line and exit code 1, any other as Python has
    it.
    """
    name = " ".join(words)
    if name not in CALLS:
        sys.stderr.write(f"Error: no call is named {name!r}.\n")
        sys.exit(2)
    try:
        CALLS[name]()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        says = in_words(error)
        if says is None:
            raise
        with suppress(OSError):
            sys.stderr.write(f"Error: {says}\n")
        sys.exit(1)


def _values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write() -> None:
    """The variant of which other calls change rows."""
    reelstore.open(STORE, create=True).write(VARIANT, KEYS, _values(0, len(KEYS), 8), splits="train", source="mine")


def write_tokens() -> None:
    """Batches of ragged tokens."""
    batches = ([_values(first + row, 1 + row, 4) for row in range(4)] for first in range(0, len(KEYS), 4))
    reelstore.open(STORE, create=True).write("text/encoder/tokens", KEYS, batches, dtype="float16", mode="replace")


def update() -> None:
    """Half of the rows with other values; rows of another call stay."""
    reelstore.open(STORE).write(VARIANT, KEYS[:6], _values(1, 6, 8), source="mine")


def append() -> None:
    """Rows that aren't there; made again, their keys are refused."""
    keys = [(f"w{number}", 0) for number in range(5)]
    reelstore.open(STORE).write(VARIANT, keys, _values(2, 5, 8), splits="test", source="mine", mode="append")


def replace() -> None:
    """Rows of another width instead of all there are."""
    reelstore.open(STORE).write(VARIANT, KEYS, _values(3, len(KEYS), 4), source="other", mode="replace")


def delete() -> None:
    """The variant is no more."""
    reelstore.open(STORE).delete(VARIANT)


def rename() -> None:
    """The variant by another name."""
    reelstore.open(STORE).rename(VARIANT, "text/encoder/max")


def read() -> None:
    """Every way to read rows."""
    store = reelstore.open("store/drawn")
    repr(store), store._repr_html_(), list(store)
    for rows in (reelstore.open_variant(f"store/drawn/text/{TEXT}/mean"), store[f"video/{VIDEO}/tokens"]):
        repr(rows), rows._repr_html_(), rows.to_pandas()
        fine = rows.ok()
        for row in fine:
            assert np.isfinite(row).all()
        assert len(fine.take([0, len(fine) - 1])) == 2 and len(fine[fine.ids[0]])


def fit() -> None:
    """A closed form on pairs of a store, saved and loaded."""
    pairs = _pairs()
    reelstore.fit("ridge", text=pairs.text, video=pairs.video, video_of_caption=pairs.video_of_caption).save("mine")
    fitted = reelstore.load_aligner("mine")
    text, video = fitted.transform(text=pairs.text), fitted.transform(video=pairs.video)
    reelstore.evaluate(text=text, video=video, video_of_caption=pairs.video_of_caption)
    reelstore.nearest(text, video, k=3)


def fit_mlp() -> None:
    """A trained kind that keeps checkpoints."""
    pairs = _pairs()
    sides = {"text": pairs.text, "video": pairs.video, "video_of_caption": pairs.video_of_caption}
    reelstore.fit("mlp", **sides, widths=[8, 4], max_epochs=2, batch_size=4, checkpoints="kept").save("mine")


def _pairs() -> "reelstore.store.pairs.PairedVariants":
    return reelstore.open("store/drawn").pairs(f"video/{VIDEO}/mean", f"text/{TEXT}/mean")


def search() -> None:
    """A sentence, and rows, through a project's aligner."""
    of = {"store": "store/drawn", "model": MODEL, "aligner": f"models/drawn/{MODEL}/ridge"}
    hits = reelstore.search("red", **of, k=3, batch_size=8)
    assert reelstore.search(reelstore.open("store/drawn")[f"text/{TEXT}/mean"], **of, k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]


def encode() -> None:
    """Two sentences."""
    encoder = reelstore.encoder(TEXT, side="text", device="cpu")
    assert all(len(one) == 2 for one in encoder.encode_texts(["red", "blue"]).values())


CALLS: dict[str, Callable[[], None]] = {
    "write": write,
    "write-tokens": write_tokens,
    "update": update,
    "append": append,
    "replace": replace,
    "delete": delete,
    "rename": rename,
    "read": read,
    "fit": fit,
    "fit-mlp": fit_mlp,
    "search": search,
    "encode": encode,
}
