"""`reelstore export`: what goes out is what is stored, and comes back bit for bit."""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from reelstore.cli import main
from reelstore.convert import exports
from reelstore.convert.items import StorageSpec
from reelstore.errors import ReelstoreError
from reelstore.store.content import write_rows
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

FORMATS = ["npy", "array", "parquet", "safetensors"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("fsync", "sync"):  # the disk's time is none of this
        monkeypatch.setattr(os, name, lambda *of: None)


def stored(path: str, keys: list, values: list, splits: list[str] | None = None, layout: Any = None) -> Rows:
    """A variant; a string among the values is why there is none."""
    side, encoder, variant = Path(path).parts[-3:]
    failures = {n: value for n, value in enumerate(values) if isinstance(value, str)}
    given: Any = [None if n in failures else value for n, value in enumerate(values)]
    if layout != "ragged":
        nothing = np.zeros_like(next(value for value in given if value is not None))
        given = np.stack([nothing if value is None else value for value in given])
    write_rows(
        Path(path),
        side=cast(Any, side),
        encoder=encoder,
        variant=variant,
        keys=keys,
        values=given,
        splits=splits,
        failures=failures,
        layout=layout,
        mode="replace",
    )
    return open_variant(Path(path))


def invoke(*words: object) -> Result:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def back(kind: str, exported: Path, target: str, layout: str) -> Rows:
    """What an import makes of an export."""
    words: list[object] = ["--layout", layout]
    keys = ["--keys", exported / "keys.csv"]
    if kind == "npy":
        source, words = exported, [*words, *keys]
    elif kind == "array":
        offsets = ["--offsets", exported / "offsets.npy"] if layout == "ragged" else []
        source, words = exported / "values.npy", [*words, *keys, *offsets]
    elif kind == "safetensors":
        source, words = exported / "values.safetensors", [*words, *keys]
    else:
        source = exported
    done = invoke("import", kind, source, target, *words)
    assert done.exit_code == 0, done.output
    return open_variant(Path(target))


ids = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".")
)
awkward = st.sampled_from(['a,b "c"', "-1", "x-1", "7010", "007", " ", "é", "e\u0301", "NA", "nan", "%2F", "\r\n;"])


@st.composite
def variants(draw):
    side = draw(st.sampled_from(["video", "text"]))
    layout = draw(st.sampled_from(["pooled", "dense", "ragged"]))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    names = draw(st.lists(ids | awkward, min_size=1, max_size=6, unique=True))
    keys = [(name, number) for name in names for number in range(draw(st.integers(1, 3)))] if side == "text" else names
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    width, n_tokens = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    values: list[Any] = []
    for _ in keys:
        count = {"pooled": (), "dense": (n_tokens,), "ragged": (int(rng.integers(0, 4)),)}[layout]
        bits = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), size=(*count, width), dtype=np.uint64)
        value = bits.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)  # subnormals and -0 among them
        values.append(np.where(np.isfinite(value), value, dtype(-0.0)))
    failed = draw(st.sets(st.integers(1, len(keys) - 1), max_size=2)) if len(keys) > 1 else set()
    for number in failed:
        values[number] = 'no frames, "truly"'
    splits = [draw(st.sampled_from(["train", "test"]))] * len(keys)
    return side, layout, keys, values, splits


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variant=variants())
def test_round_trips_are_exact(kind: str, variant: Any) -> None:
    side, layout, keys, values, splits = variant
    for folder in ("store", "out", "out.parquet"):
        shutil.rmtree(folder, ignore_errors=True)
    Path("out.parquet").unlink(missing_ok=True)
    rows = stored(f"store/a/{side}/e/given", keys, values, splits, layout)
    out = Path("out.parquet" if kind == "parquet" else "out")
    done = invoke("export", kind, rows.folder, out)
    assert done.exit_code == 0, done.output
    found = back(kind, out, f"store/b/{side}/e/given", layout)
    assert found.ids == rows.ids == keys
    assert found.table.splits == splits
    assert found.failures == rows.failures
    assert (found.dtype, found.layout, found.dim) == (rows.dtype, rows.layout, rows.dim)
    for key, value in zip(keys, values, strict=True):
        if not isinstance(value, str):
            assert found[key].shape == value.shape and found[key].tobytes() == value.tobytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_and_splits(kind: str, monkeypatch) -> None:
    monkeypatch.setattr(exports, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    keys = [f"v{n}" for n in range(50)]
    values = [rng.normal(size=(int(rng.integers(1, 4)), 8)).astype("f4") for _ in keys]
    splits = ["test" if n % 3 else "train" for n in range(50)]
    rows = stored("store/a/video/e/tokens", keys, values, splits, "ragged")
    out = Path("out.parquet" if kind == "parquet" else "out")
    done = invoke("export", kind, rows.folder, out, "--split", "test")
    assert done.exit_code == 0 and "33 rows" in done.output and rows.digest[:12] in done.output
    found = back(kind, out, "store/b/video/e/tokens", "ragged")
    assert found.ids == rows.split("test").ids
    for key in found.ids:
        assert np.array_equal(found[key], rows[key])
    assert "no split 'validation'" in invoke("export", kind, rows.folder, "x", "--split", "validation").output


def test_faiss_takes_what_it_is_given_and_finds_itself() -> None:
    values = np.random.default_rng(0).normal(size=(20, 8)).astype("f2")
    values[3] = 0
    keys = [f"v{n}" for n in range(20)]
    rows = stored("store/a/video/e/mean", keys, [*values[:19], "no frames"])
    assert invoke("export", "faiss", rows.folder, "index").exit_code == 0
    array = np.load("index/values.npy")
    assert array.dtype == np.float32 and array.flags.c_contiguous
    assert np.array_equal(array, values[:19].astype("f4"))
    assert [line.split(",")[0] for line in Path("index/keys.csv").read_text().splitlines()[1:]] == keys[:19]
    assert invoke("export", "faiss", rows.folder, "unit", "--normalize").exit_code == 0
    unit = np.load("unit/values.npy")
    lengths = np.linalg.norm(unit, axis=1)
    assert np.allclose(np.delete(lengths, 3), 1, atol=1e-6) and lengths[3] == 0
    assert np.allclose(unit[0] * np.linalg.norm(values[0].astype("f4")), values[0], atol=1e-5)
    tokens = stored("store/a/video/e/tokens", ["a"], [np.ones((3, 8), "f4")])
    assert "Export a pooling" in invoke("export", "faiss", tokens.folder, "x").output
    assert invoke("export", "npy", tokens.folder, "x", "--normalize").exit_code == 2


def test_safetensors_are_read_by_its_own_library() -> None:
    values = np.random.default_rng(0).normal(size=(5, 8)).astype("f4")
    rows = stored("store/a/video/e/mean", list("abcde"), list(values))
    invoke("export", "safetensors", rows.folder, "out")
    assert np.array_equal(load_file("out/values.safetensors")["values"], values)
    done = invoke(
        "import", "safetensors", "out/values.safetensors", "store/b/video/e"
    )  # five items, not one of 5 tokens
    assert done.exit_code == 1 and "need a table of keys" in done.output


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_overwritten_without_force_nor_what_no_export_made(kind: str) -> None:
    rows = stored("store/a/video/e/mean", ["a", "b"], list(np.ones((2, 8), "f4")))
    other = stored("store/a/video/e/max", ["c"], list(np.zeros((1, 8), "f4")))
    out = Path("out.parquet" if kind == "parquet" else "out")
    assert invoke("export", kind, rows.folder, out).exit_code == 0
    done = invoke("export", kind, other.folder, out)
    assert done.exit_code == 1 and "say --force" in done.output
    assert invoke("export", kind, other.folder, out, "--force").exit_code == 0
    assert back(kind, out, "store/b/video/e/mean", "pooled").ids == ["c"]
    mine = Path("mine.parquet" if kind == "parquet" else "mine")
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    done = invoke("export", kind, rows.folder, mine, "--force")
    assert done.exit_code == 1 and (mine / "thesis.txt").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == sorted(["store", out.name, mine.name])


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_breaks_off_leaves_nothing(kind: str, monkeypatch) -> None:
    monkeypatch.setattr(exports, "BLOCK_ROWS", 2)
    rows = stored("store/a/video/e/mean", list("abcdef"), list(np.ones((6, 8), "f4")))

    def dying(done: int, total: int) -> None:
        if done == 4:
            raise ReelstoreError("stopped")

    out = Path("out.parquet" if kind == "parquet" else "out")
    with pytest.raises(ReelstoreError, match="stopped"):
        exports.run_export(kind, rows.folder, out, progress=dying)  # type: ignore[arg-type]
    assert [path.name for path in Path().iterdir()] == ["store"]


def test_ids_that_can_t_be_file_names_are_refused() -> None:
    rows = stored("store/a/video/e/mean", ["../a"], list(np.ones((1, 8), "f4")))
    done = invoke("export", "npy", rows.folder, "out")
    assert done.exit_code == 1 and "can't be a file's name" in done.output and "Parquet" in done.output
    assert not Path("out").exists()


def test_a_storage_spec_gives_rows_their_shape() -> None:
    assert StorageSpec("dense", 8, 3, "float32").row(np.zeros((1, 3, 8))).shape == (3, 8)


def made(path: str, *ids: str) -> Rows:
    return stored(path, list(ids or "ab"), list(np.ones((len(ids) or 2, 8), "f4")))


def state(folder: str = ".") -> dict[str, Any]:
    return {str(p): p.readlink() if p.is_symlink() else p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def _into(path: str, content: bytes = b"mine") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


CHANGES = {
    "a file of a person": lambda out: _into(f"{out}/thesis.npy"),
    "a table of keys": lambda out: _into(f"{out}/keys.csv", b"video_id,split,failure\na,all,\n"),
    "a changed value": lambda out: np.save(next(Path(out).glob("*.npy")), np.zeros((2, 8), "f4")),
    "a folder": lambda out: _into(f"{out}/notes/a.txt"),
    "a link": lambda out: (
        Path(out, "b.npy").symlink_to("/etc/passwd") if not Path(out, "b.npy").exists() else _swap(out)
    ),
    "no list": lambda out: Path(out, "export.json").unlink(),
    "a list of another kind": lambda out: _into(f"{out}/export.json", b"[1]"),
    "a list with paths": lambda out: _into(f"{out}/export.json", b'{"files": {"../store": [1, 1]}}'),
    "a damaged list": lambda out: _into(f"{out}/export.json", b"\xff"),
}


def _swap(out: str) -> None:
    Path(out, "b.npy").rename("b.npy")
    Path(out, "b.npy").symlink_to(Path("b.npy").absolute())


@pytest.mark.parametrize("kind", ["npy", "array"])
@pytest.mark.parametrize("what", CHANGES)
def test_force_replaces_no_file_that_the_export_did_not_write(kind: str, what: str) -> None:
    rows = made("store/a/video/e/mean")
    assert invoke("export", kind, rows.folder, "out").exit_code == 0
    CHANGES[what]("out")
    before = state()
    done = invoke("export", kind, rows.folder, "out", "--force")
    assert done.exit_code == 1 and "out holds what no export wrote" in done.output
    assert state() == before


def test_force_replaces_a_folder_of_the_same_form_only_if_an_export_wrote_it() -> None:
    rows = made("store/a/video/e/mean")
    for folder in ("mine", "out"):
        assert invoke("export", "array", rows.folder, folder).exit_code == 0
    for path in Path("mine").iterdir():
        path.write_bytes(path.read_bytes())  # written anew: somebody's copy
    before = state("mine")
    assert invoke("export", "array", rows.folder, "mine", "--force").exit_code == 1
    assert state("mine") == before
    assert invoke("export", "npy", rows.folder, "out", "--force").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.npy", "b.npy", "export.json", "keys.csv"]
    assert sorted(path.name for path in Path().iterdir()) == ["mine", "out", "store"]


def test_force_replaces_no_parquet_of_somebody_else() -> None:
    rows = made("store/a/video/e/mean")
    assert invoke("export", "parquet", rows.folder, "out.parquet").exit_code == 0
    assert invoke("export", "parquet", rows.folder, "out.parquet", "--force").exit_code == 0
    table = pq.read_table("out.parquet")
    pq.write_table(table.replace_schema_metadata(None), "copy.parquet")
    pq.write_table(table.append_column("mine", pa.array([1, 2])), "more.parquet")
    _into("text.parquet")
    Path("link.parquet").symlink_to("out.parquet")
    Path("folder.parquet").mkdir()
    before = state()
    for name in ("copy", "more", "text", "link", "folder"):
        assert invoke("export", "parquet", rows.folder, f"{name}.parquet").exit_code == 1
        assert invoke("export", "parquet", rows.folder, f"{name}.parquet", "--force").exit_code == 1
        assert state() == before


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "path",
    [
        "store/a/video/e/mean",
        "store/a/video/e/mean/out",
        "store/a/video/e/out",
        "store/a/out",
        "store/a",
        "store",
        ".",
        "way/mean",
        "way/out",
        "link",
    ],
)
def test_nothing_is_exported_into_a_store_over_it_or_through_a_link(path: str, kind: str, force: list[str]) -> None:
    rows = made("store/a/video/e/mean")
    Path("way").symlink_to("store/a/video/e")
    Path("elsewhere").mkdir()
    Path("link").symlink_to("elsewhere")
    out = Path(f"{path}.parquet" if kind == "parquet" and Path(path).name == "out" else path)
    before = state()
    done = invoke("export", kind, rows.folder, out, *force)
    assert done.exit_code == 1, done.output
    assert state() == before and not list(Path("elsewhere").iterdir())


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "a\\b", "/etc/x", "é" * 150])
def test_ids_that_lead_elsewhere_are_no_file_names(name: str) -> None:
    rows = made("store/a/video/e/mean", name)
    before = state()
    assert "can't be a file's name" in invoke("export", "npy", rows.folder, "out").output
    assert state() == before


@pytest.mark.parametrize("name", ["con", "a\nb", "-rf", "$(id)", "keys.csv", "values", "\x1b[2J"])
def test_odd_ids_are_file_names_like_others(name: str) -> None:
    rows = made("store/a/video/e/mean", name)
    assert invoke("export", "npy", rows.folder, "out").exit_code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == sorted([f"{name}.npy", "keys.csv", "export.json"])
    assert back("npy", Path("out"), "store/b/video/e/mean", "pooled").ids == [name]
