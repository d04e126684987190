"""`reelstore import`, from the shell: what comes in, what is refused by name, and what a kill costs."""

import json
import os
import signal
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import reelstore
from reelstore.cli import main
from reelstore.convert import npy as npy_module
from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate

VIDEOS = "store/mine/video/llama"
ARRAYS_OF_KEYS = ("video_id", "video_id_offsets", "key_index", "checksum")
CAPTIONS = "store/mine/text/llama"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the disk's time is none of this


def invoke(*words: object) -> Result:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def imported(*words: object) -> str:
    done = invoke("import", *words)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: object) -> str:
    done = invoke("import", *words)
    assert done.exit_code == 1, done.output
    return done.output


def files(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def drawn(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def npy(folder: str, items: dict[str, np.ndarray]) -> None:
    Path(folder).mkdir(exist_ok=True)
    for name, value in items.items():
        np.save(Path(folder, name), value)


def rows_of(path: str):
    return reelstore.open("store/mine")[path]


@pytest.mark.parametrize("shape", [(8,), (1, 8)])
def test_pooled_videos_as_the_report_left_them(shape: tuple[int, ...]) -> None:
    values = {f"video{n}.npy": drawn(n, *shape, dtype="float16") for n in (7890, 10, 9)}
    npy("v", values)
    Path("v/notes.txt").write_text("left alone")
    assert "3 rows, 3 of them new; pooled, dim 8, float16" in imported("npy", "v", f"{VIDEOS}/mean")
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["video9", "video10", "video7890"]
    for key in rows.ids:
        assert np.array_equal(rows[key], values[f"{key}.npy"].reshape(8))
    assert rows.recipe == {"source": {"imported": "npy"}}


@pytest.mark.parametrize("leading", [(), (1,)])
def test_captions_are_numbered_from_1_and_tokens_stay_ragged(leading: tuple[int, ...]) -> None:
    values = {f"video7-{n}.npy": drawn(n, *leading, n + 1, 8) for n in (1, 2, 10)}
    npy("t", values)
    imported("npy", "t", CAPTIONS)
    rows = rows_of("text/llama/tokens")
    assert rows.ids == [("video7", 0), ("video7", 1), ("video7", 9)] and rows.layout == "ragged"
    for number in (1, 2, 10):
        assert np.array_equal(rows["video7", number - 1], values[f"video7-{number}.npy"].reshape(-1, 8))


def test_tokens_of_one_length_are_dense_and_captions_may_be_numbered_from_0() -> None:
    npy("t", {f"a-b-{n}.npy": drawn(n, 3, 8) for n in range(2)})
    assert "numbered from 1, this one is 0" in refused("npy", "t", CAPTIONS)
    imported("npy", "t", CAPTIONS, "--first", 0)
    rows = rows_of("text/llama/tokens")
    assert rows.layout == "dense" and rows.ids == [("a-b", 0), ("a-b", 1)]
    npy("t", {"a-b.npy": drawn(2, 3, 8)})
    assert "'a-b' has no number" in refused("npy", "t", CAPTIONS, "--first", 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [((8,), (3, 8)), ((1, 8), (3, 8)), ((8,), (9,)), ((2, 8), (2, 9)), ((8,), (1, 8)), ((3, 8), (1, 3, 8))],
)
def test_mixed_shapes_and_poolings_are_refused_and_both_named(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    npy("v", {"a.npy": drawn(0, *one), "b.npy": drawn(1, *one), "odd.npy": drawn(2, *other)})
    output = refused("npy", "v", VIDEOS)
    assert f"v/odd.npy {other}" in output and f"v/a.npy {one}" in output
    assert not Path("store").exists()


def test_layout_says_what_one_row_is() -> None:
    npy("v", {"a.npy": drawn(0, 1, 8), "b.npy": drawn(1, 8)})
    assert "--layout pooled" in refused("npy", "v", VIDEOS)
    imported("npy", "v", VIDEOS, "--layout", "pooled")
    npy("t", {"a-1.npy": drawn(0, 1, 8), "a-2.npy": drawn(1, 2, 8)})
    assert "--layout ragged" in refused("npy", "t", CAPTIONS)
    imported("npy", "t", CAPTIONS, "--layout", "ragged")
    assert rows_of("text/llama/tokens").token_counts.tolist() == [1, 2]
    assert "Not dense" in refused("npy", "t", CAPTIONS, "--layout", "dense")
    assert "Not pooled" in refused("npy", "t", CAPTIONS, "--layout", "pooled")


def broken(kind: str) -> bytes:
    np.save("one.npy", drawn(0, 8))
    whole = Path("one.npy").read_bytes()
    if kind == "pickled":
        np.save("one.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        return Path("one.npy").read_bytes()
    if kind == "integers":
        np.save("one.npy", np.arange(8))
        return Path("one.npy").read_bytes()
    if kind in ("nan", "inf"):
        np.save("one.npy", np.where(np.arange(8) == 3, np.float32(kind), drawn(0, 8)))
        return Path("one.npy").read_bytes()
    return {
        "empty": b"",
        "text": b"0.1 0.2",
        "truncated": whole[:-1],
        "within the header": whole[:40],
        "longer": whole + b"\0",
        "nonsense": whole[:20] + b"\xff" * 40 + whole[60:],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pickled", "holds Python objects"),
        ("integers", "int64"),
        ("nan", "holds NaN or infinity"),
        ("inf", "holds NaN or infinity"),
        ("empty", "it is empty"),
        ("text", "isn't a .npy file"),
        ("truncated", "is truncated"),
        ("within the header", "is truncated"),
        ("longer", "something behind its array"),
        ("nonsense", "isn't a .npy file"),
    ],
)
def test_what_can_t_be_embeddings_is_refused_by_its_file_s_name(kind: str, says: str) -> None:
    npy("v", {f"video{n}.npy": drawn(n, 8) for n in range(5)})
    imported("npy", "v", f"{VIDEOS}/mean")
    before = files("store")
    Path("v/video3.npy").write_bytes(broken(kind))
    output = refused("npy", "v", f"{VIDEOS}/mean")
    assert "v/video3.npy" in output and says in output
    assert files("store") == before


def test_numbers_are_never_cast_unasked_and_never_overflow() -> None:
    npy("v", {"a.npy": drawn(0, 8, dtype="float64"), "b.npy": drawn(1, 8, dtype="float64")})
    assert "--dtype float32" in refused("npy", "v", VIDEOS)
    imported("npy", "v", f"{VIDEOS}/mean", "--dtype", "float32")
    assert np.array_equal(rows_of("video/llama/mean")["a"], np.load("v/a.npy").astype("float32"))
    np.save("v/b.npy", np.full(8, 70000.0))
    assert "v/b.npy holds 70000, beyond float16's 65504" in refused("npy", "v", VIDEOS, "--dtype", "float16")
    np.save("v/b.npy", drawn(0, 8))
    output = refused("npy", "v", VIDEOS)
    assert "float64: v/a.npy (8,)" in output and "float32: v/b.npy (8,)" in output


def test_other_byte_and_column_orders_are_the_same_numbers() -> None:
    value = drawn(0, 3, 8)
    npy("v", {"a.npy": np.asfortranarray(value), "b.npy": value.astype(">f4")})
    imported("npy", "v", f"{VIDEOS}/tokens")
    rows = rows_of("video/llama/tokens")
    assert np.array_equal(rows["a"], value) and np.array_equal(rows["b"], value)


def test_again_writes_nothing_and_a_changed_file_is_one_new_row() -> None:
    npy("v", {f"video{n}.npy": drawn(n, 8) for n in range(200)})
    imported("npy", "v", f"{VIDEOS}/mean")
    before = {name: os.stat(Path("store", name)).st_mtime_ns for name in files("store")}
    assert "none of them new" in imported("npy", "v", f"{VIDEOS}/mean")
    assert {name: os.stat(Path("store", name)).st_mtime_ns for name in files("store")} == before
    np.save("v/video70.npy", drawn(999, 8))
    assert "200 rows, 1 of them new" in imported("npy", "v", f"{VIDEOS}/mean")
    assert np.array_equal(rows_of("video/llama/mean")["video70"], drawn(999, 8))
    changed = [name for name in before if os.stat(Path("store", name)).st_mtime_ns != before[name]]
    assert sum("values/c" in name for name in changed) == 1
    assert invoke("verify", "store").exit_code == 0


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
@pytest.mark.parametrize(
    "name", ["values/c/0/0", "video_id/c/0", "video_id_offsets/c/0", "key_index/c/0", "checksum/c/0"]
)
def test_a_damaged_store_is_repaired_from_the_files(name: str, how: str) -> None:
    npy("v", {f"video{n}.npy": drawn(n, 8) for n in range(100)})
    imported("npy", "v", f"{VIDEOS}/mean")
    before = files("store")
    file = Path("store/mine/video/llama/mean", name)
    content = file.read_bytes()
    file.write_bytes({"changed": b"\xff" * 9 + content[9:], "cut": content[:9], "gone": b""}[how])
    if how == "gone":
        file.unlink()
    assert f"repaired: {name}" in imported("npy", "v", f"{VIDEOS}/mean")
    assert files("store") == before


def die_at(n_opened: int) -> None:
    """End this process when it opens so many .npy files."""
    opened, paths = npy_module._opened, []

    def dying(path, read):
        paths.append(path)
        if len(paths) == n_opened:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(path, read)

    npy_module._opened = dying  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("counts", [False, True], ids=["pooled", "ragged"])
def test_a_killed_import_leaves_the_store_as_it_was(counts: bool) -> None:
    shapes = [(n % 5 + 1, 8) if counts else (8,) for n in range(100)]
    npy("t", {f"v{n // 4}-{n % 4 + 1}.npy": drawn(n, *shape) for n, shape in enumerate(shapes)})
    words = ["npy", "t", CAPTIONS, *(["--layout", "ragged"] if counts else [])]
    imported(*words)
    before = files("store")
    for n in (0, 70):
        np.save(f"t/v{n // 4}-{n % 4 + 1}.npy", drawn(n + 100, *shapes[n]))
    for n_opened in (1, 60, 101, 200):  # 100 for their headers, 100 for their values
        child = os.fork()
        if child == 0:
            die_at(n_opened)
            imported(*words)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert files("store") == before
    assert "2 of them new" in imported(*words)
    assert sorted(path.name for path in Path().iterdir()) == ["store", "t"]


TABLE = {"video_id": ["b", "a", "a", "c"], "split": ["test", "train", "train", "test"], "caption": ["x", "y", "z", "w"]}


def table(path: str) -> str:
    rows = [dict(zip(TABLE, cells, strict=True)) for cells in zip(*TABLE.values(), strict=True)]
    if path.endswith(".csv"):
        Path(path).write_text("\n".join([",".join(TABLE), *(",".join(row.values()) for row in rows)]))
    elif path.endswith(".jsonl"):
        Path(path).write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.table(TABLE), path)
    return path


@pytest.mark.parametrize("path", ["keys.csv", "keys.jsonl", "keys.parquet"])
def test_a_table_gives_order_and_splits_to_both_sides(path: str) -> None:
    npy("v", {f"{name}.npy": drawn(n, 8) for n, name in enumerate("abcd")})
    assert "1 items aren't in keys" in imported("npy", "v", f"{VIDEOS}/mean", "--keys", table(path))
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["b", "a", "c"] and rows.split("test").ids == ["b", "c"]
    np.save("t.npy", drawn(5, 4, 8))
    imported("array", "t.npy", f"{CAPTIONS}/mean", "--keys", path)
    captions = rows_of("text/llama/mean")
    assert captions.ids == [("b", 0), ("a", 0), ("a", 1), ("c", 0)] and len(captions.split("train")) == 2
    assert np.array_equal(captions.array(), drawn(5, 4, 8))
    assert rows_of("video/llama/mean").table.splits == ["test", "train", "test"]


def test_what_was_imported_can_be_written_to_and_imported_again() -> None:
    npy("v", {f"v{n}.npy": drawn(n, 8) for n in range(3)})
    imported("npy", "v", TARGET, "--revision", "abc")
    store = reelstore.open("store/mine")
    store.write("video/llama/mean", ["v1", "v9"], drawn(9, 2, 8))
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["v0", "v1", "v2", "v9"] and np.array_equal(rows["v1"], drawn(9, 2, 8)[0])
    assert rows.recipe == {"source": {"imported": "npy", "revision": "abc"}}
    assert "3 rows, 1 of them new, 1 stored ones removed" in imported("npy", "v", TARGET, "--revision", "abc")
    assert np.array_equal(rows_of("video/llama/mean").array(), [drawn(n, 8) for n in range(3)])


def test_a_row_of_the_table_without_a_file_is_an_error_or_a_row_without_a_value() -> None:
    npy("v", {"a.npy": drawn(0, 8), "c.npy": drawn(1, 8)})
    assert "v lacks 1 of the 3 rows of keys.csv: 'b'" in refused("npy", "v", VIDEOS, "--keys", table("keys.csv"))
    assert "1 without a value" in imported("npy", "v", f"{VIDEOS}/mean", "--keys", "keys.csv", "--allow-missing")
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["b", "a", "c"] and list(rows.failures) == ["b"]
    np.save("v/b.npy", drawn(2, 8))
    assert "1 of them new" in imported("npy", "v", f"{VIDEOS}/mean", "--keys", "keys.csv")
    assert not rows_of("video/llama/mean").failures


def test_rows_of_videos_may_be_named_by_the_table() -> None:
    Path("k.csv").write_text("video_id,video_row\nb,2\nb,2\na,0\n")
    np.save("v.npy", drawn(0, 3, 8))
    imported("array", "v.npy", f"{VIDEOS}/mean", "--keys", "k.csv")
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["b", "a"] and np.array_equal(rows.array(), drawn(0, 3, 8)[[2, 0]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("video_id\na\nb\n", "v.npy has 3 rows (3, 8), the table of keys 2"),
        ("name\na\nb\nc\n", "has no column 'video_id'"),
        ("video_id,split\na,test\na,train\nb,test\nc,test\n", "line 3: video 'a' is in the split 'train'"),
        ("video_id,video_row\na,0\nb,1\nc,3\n", "line 4: video_row 3, but its rows are 0 to 2"),
        ('video_id\na\n""\nc\n', "line 3: video_id is empty"),
        ("video_id,x\na,1\nb\n", "line 3: 1 cells for 2 columns"),
        ("video_id\n", "has no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_says_where(text: str, says: str) -> None:
    np.save("v.npy", drawn(0, 3, 8))
    Path("k.csv").write_text(text)
    assert says in refused("array", "v.npy", VIDEOS, "--keys", "k.csv")


def test_hdf5_has_a_dataset_an_item() -> None:
    with h5py.File("e.h5", "w") as file:
        file["video2"], file["group/video10"] = drawn(0, 8), drawn(1, 8)
        file["elsewhere"] = h5py.ExternalLink("other.h5", "x")
    imported("hdf5", "e.h5", f"{VIDEOS}/mean")
    rows = rows_of("video/llama/mean")
    assert rows.ids == ["group/video10", "video2"] and np.array_equal(rows["video2"], drawn(0, 8))
    with h5py.File("t.h5", "w") as file:
        file["video2/1"], file["video2/2"] = drawn(0, 3, 8), drawn(1, 2, 8)
    imported("hdf5", "t.h5", CAPTIONS)
    assert rows_of("text/llama/tokens").ids == [("video2", 0), ("video2", 1)]
    Path("bad.h5").write_bytes(Path("t.h5").read_bytes()[:900])
    assert "bad.h5 can't be read as HDF5" in refused("hdf5", "bad.h5", VIDEOS)
    with h5py.File("far.h5", "w") as file:
        file.create_dataset("video1", (8,), "f4", external=[("raw.bin", 0, 32)])
    assert "lie in another file" in refused("hdf5", "far.h5", VIDEOS)


def test_hdf5_without_its_extra_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'reelstore[hdf5]'" in refused("hdf5", "e.h5", VIDEOS)


def test_parquet_and_arrow_have_a_column_of_vectors() -> None:
    values = drawn(0, 5, 8)
    ids, numbers = list("aabcd"), [0, 1, 0, 0, 0]
    columns = {"sentence_of": ids, "caption_index": numbers, "vector": list(values), "other": [[1.0]] * 5}
    pq.write_table(pa.table(columns), "t.parquet", row_group_size=2)
    assert "columns of vectors: vector, other" in refused("parquet", "t.parquet", CAPTIONS)
    words = ["--vector", "vector", "--id-column", "sentence_of", "--split", "test", "--dtype", "float32"]
    imported("parquet", "t.parquet", f"{CAPTIONS}/mean", *words)
    rows = rows_of("text/llama/mean")
    assert rows.ids == list(zip(ids, numbers, strict=True)) and np.array_equal(rows.array(), values)
    tokens = [values[:2].tolist(), values[2:5].tolist(), [values[0].tolist()]]
    kind = pa.list_(pa.list_(pa.float32()))
    feather.write_feather(pa.table({"video_id": ["x", "y", "z"], "tokens": pa.array(tokens, kind)}), "v.arrow")
    imported("parquet", "v.arrow", f"{VIDEOS}/tokens", "--layout", "ragged")
    found = rows_of("video/llama/tokens")
    assert found.token_counts.tolist() == [2, 3, 1] and np.array_equal(found["y"], values[2:])


@pytest.mark.parametrize(
    ("vectors", "says"),
    [([[1.0], None], "row 2 ('b'): v is null"), ([[1.0], [1.0, 2.0]], "different widths"), ([[1.0], [None]], "null")],
)
def test_parquet_s_nulls_and_widths_are_refused(vectors: list, says: str) -> None:
    pq.write_table(pa.table({"video_id": ["a", "b"], "v": pa.array(vectors, pa.list_(pa.float32()))}), "v.parquet")
    assert says in refused("parquet", "v.parquet", VIDEOS)


def test_safetensors_have_a_tensor_an_item_or_a_matrix_with_keys() -> None:
    save_file({"video2": drawn(0, 8), "video10": drawn(1, 8)}, "v.safetensors")
    imported("safetensors", "v.safetensors", f"{VIDEOS}/mean")
    assert rows_of("video/llama/mean").ids == ["video2", "video10"]
    save_torch({"all": torch.from_numpy(drawn(2, 4, 8)).bfloat16()}, "t.safetensors")
    imported("safetensors", "t.safetensors", f"{CAPTIONS}/mean", "--keys", table("keys.csv"))
    rows = rows_of("text/llama/mean")
    assert rows.dtype == "float32"  # which holds every bfloat16
    assert np.array_equal(rows.array(), torch.from_numpy(drawn(2, 4, 8)).bfloat16().float().numpy())
    Path("bad.safetensors").write_bytes(b"\xff" * 100)
    assert "can't be read as safetensors" in refused("safetensors", "bad.safetensors", VIDEOS)


@pytest.mark.parametrize(
    "target", ["store/mine", "store/mine/audio/x/mean", "store/mine/video/..", "store/mine/video/a b"]
)
def test_a_target_that_is_no_place_in_a_store_is_refused(target: str) -> None:
    npy("v", {"a.npy": drawn(0, 8)})
    assert "must be" in refused("npy", "v", target)
    assert not Path("store").exists()


def a_person_s_files(folder: str) -> None:
    for name, content in {"thesis.tex": b"years", "notes/a.txt": b"b", "v0.npy": Path("v/v0.npy").read_bytes()}.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


TARGET = f"{VIDEOS}/mean"


def target_is_the_source() -> list[object]:
    Path(TARGET).parent.mkdir(parents=True)
    Path("v").rename(TARGET)
    return ["npy", TARGET, TARGET]


def target_is_the_source_by_a_link() -> list[object]:
    Path(TARGET).parent.mkdir(parents=True)
    Path(TARGET).symlink_to(Path("v").absolute())
    return ["npy", "v", TARGET]


def target_is_in_the_source() -> list[object]:
    Path(TARGET).parent.mkdir(parents=True)
    Path("v").rename("store/mine/video/llama/npy")
    return ["npy", "store/mine/video/llama/npy", "store/mine/video/llama/npy/../npy/video/x/mean"]


def source_is_in_the_target() -> list[object]:
    Path(TARGET).mkdir(parents=True)
    Path("v").rename(f"{TARGET}/npy")
    return ["npy", f"{TARGET}/npy", TARGET]


def file_is_in_the_target() -> list[object]:
    Path(TARGET).mkdir(parents=True)
    np.save(f"{TARGET}/all.npy", drawn(0, 2, 8))
    Path("k.csv").write_text("video_id\na\nb\n")
    return ["array", f"{TARGET}/all.npy", TARGET, "--keys", "k.csv"]


def keys_are_in_the_target() -> list[object]:
    Path(TARGET).mkdir(parents=True)
    Path(TARGET, "k.csv").write_text("video_id\nv0\nv1\n")
    return ["npy", "v", TARGET, "--keys", f"{TARGET}/k.csv"]


def parquet_is_in_the_target() -> list[object]:
    Path(TARGET).mkdir(parents=True)
    pq.write_table(pa.table({"video_id": ["a"], "v": [[1.0]]}), f"{TARGET}/a.parquet")
    return ["parquet", f"{TARGET}/a.parquet", TARGET, "--dtype", "float32"]


def default_variant_is_the_source() -> list[object]:
    Path(VIDEOS).mkdir(parents=True)
    Path("v").rename(f"{VIDEOS}/embedding")
    return ["npy", f"{VIDEOS}/embedding", VIDEOS]


@pytest.mark.parametrize(
    "arranged",
    [
        target_is_the_source,
        target_is_the_source_by_a_link,
        target_is_in_the_source,
        source_is_in_the_target,
        file_is_in_the_target,
        keys_are_in_the_target,
        parquet_is_in_the_target,
        default_variant_is_the_source,
    ],
)
def test_source_and_target_may_not_overlap(arranged) -> None:
    npy("v", {f"v{n}.npy": drawn(n, 8) for n in range(2)})
    words = arranged()
    before = files(".")
    output = refused(*words)
    assert "source" in output or "in the target" in output, output
    assert files(".") == before


@pytest.mark.parametrize("linked", [False, True], ids=["folder", "link"])
def test_a_person_s_folder_is_no_target(linked: bool) -> None:
    npy("v", {"v0.npy": drawn(0, 8)})
    folder = "papers" if linked else TARGET
    a_person_s_files(folder)
    if linked:
        Path(TARGET).parent.mkdir(parents=True)
        Path(TARGET).symlink_to(Path("papers").absolute())
    before = files(".")
    assert "mean" in refused("npy", "v", TARGET)
    assert files(".") == before


def test_a_person_s_file_is_no_target() -> None:
    npy("v", {"v0.npy": drawn(0, 8)})
    Path(VIDEOS).mkdir(parents=True)
    Path(TARGET).write_text("mine")
    assert "mean" in refused("npy", "v", TARGET)
    assert Path(TARGET).read_text() == "mine"


def test_a_variant_of_an_encoder_is_no_target() -> None:
    npy("v", {"v0.npy": drawn(0, 8)})
    spec = VariantSpec("video", "llama", "mean", 8, 0, "float32", {"encoder": {"kind": "llama"}})
    table = RowTable(["v0"], ["all"], np.zeros((1, 16), np.uint8))
    with VariantUpdate(Path(TARGET), spec, table) as update:
        update.put(0, drawn(1, 8))
        update.finish()
    before = files(".")
    assert "wasn't imported (its recipe has 'encoder')" in refused("npy", "v", TARGET)
    assert files(".") == before


NULLS = {
    "token of fixed width": ([[[1.0, 2.0], None], [[3.0, 4.0]]], pa.list_(pa.list_(pa.float32(), 2)), "token 2 of v"),
    "token": ([[[1.0, 2.0]], [[3.0, 4.0], None]], pa.list_(pa.list_(pa.float32())), "row 2: token 2 of v is null"),
    "token of a fixed number": (
        [[[1.0], None], [[3.0], [4.0]]],
        pa.list_(pa.list_(pa.float32(), 1), 2),
        "row 1: token 2",
    ),
    "number": ([[1.0, None], [3.0, 4.0]], pa.list_(pa.float32(), 2), "row 1: number 2 of v is null"),
    "number of a token": ([[[1.0]], [[None]]], pa.list_(pa.list_(pa.float32(), 1)), "row 2: number 1 of v is null"),
    "vector": ([[1.0, 2.0], None], pa.list_(pa.float32(), 2), "row 2 ('b'): v is null"),
    "width": (
        [[[1.0, 2.0]], [[3.0]]],
        pa.large_list(pa.list_(pa.float32())),
        "row 2: tokens of v have different widths",
    ),
    "NaN": ([[1.0, 2.0], [3.0, float("nan")]], pa.large_list(pa.float32()), "row 2 of v.{} holds NaN or infinity"),
    "integers": ([[1, 2], [3, 4]], pa.list_(pa.int32()), "embeddings are floating point, v is list<"),
    "bools": ([[True], [False]], pa.list_(pa.bool_()), "embeddings are floating point, v is list<"),
    "nothing": ([[None], [None]], pa.list_(pa.null()), "embeddings are floating point, v is list<"),
    "float64": ([[1.0], [2.0]], pa.list_(pa.float64()), "float64, a store float16 or float32"),
    "view": (
        [[1.0], [2.0]],
        pa.list_view(pa.float32()),
        "A column of vectors has lists of numbers; this is v (list_view",
    ),
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("what", NULLS)
def test_nothing_is_left_out_of_a_vector_in_silence(what: str, ending: str) -> None:
    vectors, kind, says = NULLS[what]
    found = pa.table({"video_id": ["a", "b"], "v": pa.array(vectors, kind)})
    if ending == "arrow":
        with pa.ipc.new_file("v.arrow", found.schema) as file:
            file.write_table(found)
    else:
        pq.write_table(found, "v.parquet")
    assert says.format(ending) in refused("parquet", f"v.{ending}", f"{VIDEOS}/x", "--vector", "v")
    assert not Path("store").exists()


def test_a_row_that_has_a_value_and_a_failure_is_refused() -> None:
    pq.write_table(pa.table({"video_id": ["a"], "failure": ["no frames"], "v": [[1.0]]}), "v.parquet")
    assert "failure says that it has no value ('no frames'), but v has one" in refused("parquet", "v.parquet", VIDEOS)


@pytest.mark.parametrize("name", [b"caf\xe9.npy", b"a-2147483649.npy", b"a-" + b"9" * 200 + b".npy"])
def test_names_of_files_that_no_store_keeps_are_refused(name: bytes) -> None:
    os.mkdir("n")
    with open(b"n/" + name, "wb") as file:
        np.save(file, drawn(0, 8))
    assert "n: the n" in refused("npy", "n", CAPTIONS)
    assert not Path("store").exists()


def test_a_broken_link_or_a_pipe_among_npy_files_is_no_item_left_out() -> None:
    npy("v", {"v0.npy": drawn(0, 8)})
    Path("v/v1.npy").symlink_to("nowhere")
    assert "v/v1.npy can't be read: No such file" in refused("npy", "v", VIDEOS)
    Path("v/v1.npy").unlink()
    os.mkfifo("v/v1.npy")
    assert "v/v1.npy is a pipe" in refused("npy", "v", VIDEOS)


@pytest.mark.parametrize("words", [["--split", "\udce9"], ["--split", ""], ["--revision", "\udce9"]])
def test_words_of_the_command_line_are_text(words: list[str]) -> None:
    npy("v", {"v0.npy": drawn(0, 8)})
    assert words[0] in refused("npy", "v", VIDEOS, *words)
    assert not Path("store").exists()
