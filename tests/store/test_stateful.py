"""A store through a long life: written, grown, cut, killed, damaged, pooled and read, beside a model of plain NumPy."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reelstore.errors import StoreNotFoundError
from reelstore.pooling import pool
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.verify import check_variant
from reelstore.store.write import row_fingerprints

from .made import files, folder_of, soak, spec, table_of, value_of

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
NAMES = st.lists(st.integers(0, 300), max_size=220, unique=True)
"""Keys of a store; value, number of tokens and failure are functions of the key."""


def n_tokens(key: str) -> int:
    return int(key) % 5


def fails(key: str) -> bool:
    return int(key) % 23 == 0


class Life(RuleBasedStateMachine):
    """`keys` is what a finished update must have left; `pooled_keys` the same of its poolings."""

    @initialize(layout=st.sampled_from([4, None]))
    def begin(self, layout: int | None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="reelstore-life-"))
        self.of = spec(layout)
        self.folder = folder_of(self.root, self.of)
        self.keys: list[str] | None = None
        self.pooled_keys: list[str] | None = None

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    def update(self, keys: list[str]) -> None:
        update = VariantUpdate(self.folder, self.of, table_of(keys, self.of))
        for row in update.todo.tolist():
            if fails(keys[row]):
                update.fail(row, "no frames")
            else:
                update.put(row, value_of(keys[row], self.of, n_tokens(keys[row])))
        update.finish()

    @rule(names=NAMES)
    def write(self, names: list[int]) -> None:
        self.keys = [str(name) for name in names]
        self.update(self.keys)

    @rule(names=NAMES)
    def append(self, names: list[int]) -> None:
        here = self.keys or []
        self.keys = [*here, *(str(name) for name in names if str(name) not in here)]
        self.update(self.keys)

    @rule(names=NAMES, calls=st.integers(0, 120))
    def be_killed_and_run_again(self, names: list[int], calls: int) -> None:
        keys = [str(name) for name in names]
        child = os.fork()
        if child == 0:
            left = [calls]
            replace, fsync = os.replace, os.fsync

            def counted(call):
                def wrapper(*args):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*args)

                return wrapper

            os.replace, os.fsync = counted(replace), counted(fsync)
            try:
                self.update(keys)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        try:
            there = open_variant(self.folder).ids
            assert there in (self.keys, keys)
        except StoreNotFoundError:
            pass
        self.keys = keys
        self.update(keys)

    @rule(pick=st.integers(0, 10**6), bit=st.integers(0, 7))
    def be_damaged_and_repaired(self, pick: int, bit: int) -> None:
        if not self.keys:
            return
        before = files(self.folder)
        names = sorted(name for name in before if name != "zarr.json")
        path = self.folder / names[pick % len(names)]
        content = bytearray(path.read_bytes())
        content[pick % len(content)] ^= 1 << bit
        path.write_bytes(content)
        assert any(str(path) in str(finding) for finding in check_variant(self.folder, quick=False))
        self.update(self.keys)
        assert files(self.folder) == before

    @rule(names=NAMES)
    def make_at_once_elsewhere(self, names: list[int]) -> None:
        """The same rows without this life's history have the same bytes."""
        if self.keys is None:
            return
        scratch = folder_of(self.root / "scratch", self.of)
        shutil.rmtree(scratch, ignore_errors=True)
        here, self.folder = self.folder, scratch
        self.update(self.keys)
        self.folder = here
        assert files(scratch) == files(here)

    @rule()
    def be_pooled(self) -> None:
        if self.keys is None:
            return
        tokens = open_variant(self.folder)
        of = VariantSpec("video", "fake", "mean", self.of.dim, 0, "float16", {"tokens": tokens.fingerprint})
        contents = [one.tobytes().hex() for one in tokens.table.fingerprints]
        table = RowTable(tokens.table.keys, tokens.table.splits, row_fingerprints(of.fingerprint, contents))
        update = VariantUpdate(self.folder.with_name("mean"), of, table)
        for row in update.todo.tolist():
            key = self.keys[row]
            if fails(key) or (self.of.layout == "ragged" and not n_tokens(key)):
                update.fail(row, "nothing to pool")
            else:
                update.put(row, pool(tokens.take([row])[0], "mean"))
        update.finish()
        self.pooled_keys = list(self.keys)

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        if getattr(self, "keys", None) is None:
            return
        assert self.keys is not None
        rows = open_variant(self.folder)
        assert rows.ids == self.keys
        assert list(rows.failures) == [key for key in self.keys if fails(key)]
        ok = [row for row, key in enumerate(self.keys) if not fails(key)]
        for row, got in zip(ok, rows.take(ok), strict=True):
            key = self.keys[row]
            np.testing.assert_array_equal(got, value_of(key, self.of, n_tokens(key)).astype(np.float16))
        assert not list(check_variant(self.folder, quick=False))

    @invariant()
    def pooled_rows_are_the_mean_of_their_tokens(self) -> None:
        if getattr(self, "pooled_keys", None) is None:
            return
        rows = open_variant(self.folder.with_name("mean")).ok()
        for key, got in zip(rows.ids, rows.array(), strict=True):
            value = value_of(str(key), self.of, n_tokens(str(key))).astype(np.float16)
            np.testing.assert_array_equal(got, pool(value, "mean").astype(np.float16))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=soak(12, 300), stateful_step_count=soak(8, 25), deadline=None)
