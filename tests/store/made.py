"""Stores made for tests: every value is a pure function of its key, so that a swapped row shows."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from reelstore import io
from reelstore.store.format import VariantSpec
from reelstore.store.open import Store
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate
from reelstore.store.verify import check_variant
from reelstore.store.write import row_fingerprints

DIM = 6
VIDEOS = [f"v{number}" for number in range(100)]
CAPTIONS = [(video, index) for video in VIDEOS for index in range(1 + int(video[1:]) % 3)]
VALUES = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
TEXT = np.random.default_rng(1).normal(size=(len(CAPTIONS), 4)).astype("float16")
TOKENS = [np.full((number % 4, 4), number, "float16") for number in range(len(CAPTIONS))]


def spec(n_tokens: int | None = 0, *, side: str = "video", dtype: str = "float16", dim: int = DIM) -> VariantSpec:
    variant = "mean" if n_tokens == 0 else "tokens"
    return VariantSpec(side, "fake", variant, dim, n_tokens, dtype, {"weights": "none"})


def value_of(key: object, of: VariantSpec, n_tokens: int = 3) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    shape = (n_tokens, of.dim) if of.layout == "ragged" else of.row_shape
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def table_of(keys: list, of: VariantSpec, *, every: int = 5) -> RowTable:
    """Rows of these keys; each fifth (or so) is of `test`, the others of `train`."""
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    splits = ["test" if number % every == 0 else "train" for number in range(len(keys))]
    return RowTable(keys, splits, row_fingerprints(of.fingerprint, contents))


def write(
    folder: Path,
    of: VariantSpec,
    keys: list,
    *,
    failed: Collection = (),
    lengths: Mapping | None = None,
    every: int = 5,
) -> UpdateReport:
    """Bring a variant to these rows, all of them `value_of` their key; `lengths`: key -> tokens, by default 3."""
    update = VariantUpdate(folder, of, table_of(keys, of, every=every))
    for row in update.todo:
        key = keys[row]
        if key in failed:
            update.fail(int(row), "no frames")
        else:
            update.put(int(row), value_of(key, of, (lengths or {}).get(key, 3)))
    return update.finish()


def read_all(rows: Rows) -> None:
    """Ask for all that rows can give."""
    rows.ids.check()
    _ = list(rows.ids), rows.status, rows.failures, rows.token_counts, rows.split("test"), rows.table
    every = range(len(rows.ok()))
    rows.ok().take(every)
    list(rows.ok().walk(every))


def check_sound(store: Store) -> None:
    for name in store:
        assert not list(check_variant(store[name].folder, quick=False)), name


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def folder_of(tmp_path: Path, of: VariantSpec) -> Path:
    return tmp_path / "store" / "set" / of.side / of.encoder / of.variant


def soak(some: int, all_of_it: int) -> int:
    """How many to try: some in `make test`, all of it in `make soak`."""
    return all_of_it if "REELSTORE_SOAK" in os.environ else some


def in_child(work: Callable[[], None], *, seconds: float | None = None) -> bool:
    """Run `work` in a process of its own, killed after so many seconds; whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the writer failed of itself"
    return not os.WIFSIGNALED(status)


def dying_at(boundary: int, *, after: bool) -> Iterator[int]:
    """Let this process kill itself at its n-th call to the operating system that changes something; counts them."""
    made = 0
    changing = ["fsync", "replace", "unlink", "rmdir", "mkdir", "open", "link"]

    def watched(call: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            nonlocal made
            made += 1
            mine = made
            if mine == boundary and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if mine == boundary:
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapper

    for name in changing:
        setattr(os, name, watched(getattr(os, name)))
    io.open = watched(open)  # type: ignore[attr-defined]
    return (made for _ in range(1))
