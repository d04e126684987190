"""Pooling a store's tokens: what can't be pooled is a failed row, and too many of them end the stage."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_store
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

N_ROWS = 50
EMPTY = (3, 30)


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ragged tokens of 50 captions, two of them without any."""
    monkeypatch.chdir(tmp_path)
    spec = VariantSpec("text", "fake", "tokens", 4, None, "float16", {"weights": "none"})
    keys = [("v", number) for number in range(N_ROWS)]
    table = RowTable(keys, ["train"] * N_ROWS, row_fingerprints(spec.fingerprint, [str(n) for n in range(N_ROWS)]))
    update = VariantUpdate(Path("store/drawn/text/fake/tokens"), spec, table)
    for row in range(N_ROWS):
        update.put(row, np.full((0 if row in EMPTY else 2, 4), row, dtype=np.float32))
    update.finish()


def pool(max_failures: str) -> tuple[int, str]:
    Path("params.yaml").write_text(
        "dataset: {name: drawn, kind: folder, source: clips}\nencoders: {text/fake: {}}\n"
        f"embed: {{max_failures: {max_failures}}}\n"
    )
    done = CliRunner().invoke(main, ["pool", "text/fake"])
    return done.exit_code, done.output


@pytest.mark.parametrize(("max_failures", "allowed"), [("1", "1"), ("0", "0"), ("0.03", "1.5")])
def test_more_rows_without_tokens_than_allowed_end_the_stage_and_keep_the_rest(
    tokens, max_failures: str, allowed: str
) -> None:
    code, said = pool(max_failures)
    assert code == 1
    assert f"2 of 50 rows failed, embed.max_failures allows {allowed}" in said
    assert "('v', 3): it has no tokens to pool" in said
    rows = open_store("store/drawn")["text/fake/mean"]
    assert len(rows.ok()) == N_ROWS - 2
    assert pool(max_failures)[0] == 1, "and again, though there is nothing to do"


@pytest.mark.parametrize("max_failures", ["2", "0.04"])
def test_as_many_as_allowed_do_not(tokens, max_failures: str) -> None:
    assert pool(max_failures)[0] == 0
    assert "failed       ('v', 30): it has no tokens to pool" in info()
    assert "48 ok, 2 failed" in info()


def info() -> str:
    return CliRunner().invoke(main, ["info", "store/drawn/text/fake/mean"]).output


def test_no_number_is_no_limit(tokens) -> None:
    code, said = pool(".nan")
    assert code == 1
    assert "embed.max_failures" in said and ".nan" in said


@pytest.mark.parametrize("n_written", [0, 7, 20])
def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(tokens, monkeypatch, n_written: int) -> None:
    before = sorted(Path("store").rglob("*"))
    fsync, left = os.fsync, [n_written]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        code, said = pool("2")
    assert (code, "the disk is full" in said) == (1, True), said
    assert sorted(Path("store").rglob("*")) == before
    assert pool("2")[0] == 0


def test_a_row_whose_tokens_came_later_is_pooled(tokens: None) -> None:
    """As after `embed --retry-failed`: its fingerprint is what it was when it failed."""
    folder = Path("store/drawn/text/fake/tokens")
    spec, table = (
        open_store("store/drawn")["text/fake/tokens"].spec,
        open_store("store/drawn")["text/fake/tokens"].table,
    )
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for broken in ([7], []):
        update = VariantUpdate(folder, spec, table, retry_failed=True)
        for row in update.todo.tolist():
            if row in broken:
                update.fail(row, "it broke off")
            else:
                update.put(row, np.full((2, 4), row, dtype=np.float32))
        update.finish()
        code, said = pool("0.5")
        assert code == 0
        assert len(open_store("store/drawn")["text/fake/mean"].failures) == len(broken)
    assert "1 pooled, 49 reused" in said
