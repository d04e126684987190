"""Layouts that people have, from the shell: the source's numbers come in by their keys, or one line says why not."""

import io
import json
import pickle
import tarfile
import zipfile
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

import reelstore
from reelstore.cli import main

VIDEOS = "store/m/video/x/v"
CAPTIONS = "store/m/text/x/v"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # the disk's time is none of this


def invoke(*words: object) -> Result:
    done = CliRunner().invoke(main, ["import", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def refused(*words: object) -> str:
    """The one line that says why; nothing is written."""
    done = invoke(*words)
    assert done.exit_code == 1, done.output
    assert not Path("store").exists()
    lines = [line for line in done.stderr.split("\n") if line and "\r" not in line]
    assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    return lines[0]


def brought(expected: dict, *words: object) -> str:
    """See that a store has these keys, in order, with these numbers bit for bit; and that a dry run says the same."""
    planned = invoke(*words, "--dry-run")
    assert planned.exit_code == 0 and "Nothing was written" in planned.output, planned.output
    assert not Path("store").exists()
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    (side,) = (word for word in map(str, words) if word in (VIDEOS, CAPTIONS))
    rows = reelstore.open("store/m")[side.removeprefix("store/m/")]
    assert rows.ids == list(expected)
    for key, value in expected.items():
        found = rows[key]
        assert found.dtype == value.dtype and found.shape == value.shape and found.tobytes() == value.tobytes(), key
    for line in planned.output.splitlines():
        assert "Nothing was written" in line or line.startswith("read headers") or line in done.output
    keys = list(expected)
    assert f"first {keys[0]!r}" in done.output or f"the only one {keys[0]!r}" in done.output
    assert len(keys) == 1 or f"last {keys[-1]!r}" in done.output
    return done.output


def drawn(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def npy(folder: str, items: dict[str, np.ndarray]) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, value in items.items():
        np.save(Path(folder, f"{name}.npy"), value)


def hdf5(items: dict[str, np.ndarray], path: str = "a.h5") -> None:
    with h5py.File(path, "w") as file:
        for name, value in items.items():
            file[name] = value


C3D = {f"v_{name}": drawn(n, 3 + n, 5) for n, name in enumerate(("--0edUL8zmA", "aaa", "bbb"))}


class TestHdf5:
    def test_one_dataset_in_each_group_is_the_group_s(self) -> None:
        hdf5({f"{name}/c3d_features": value for name, value in C3D.items()})
        said = brought(C3D, "hdf5", "a.h5", VIDEOS)
        assert "items are <id>/c3d_features" in said

    def test_one_group_alone_too(self) -> None:
        hdf5({"v_aaa/c3d_features": C3D["v_aaa"]})
        brought({"v_aaa": C3D["v_aaa"]}, "hdf5", "a.h5", VIDEOS, "--dataset", "c3d_features", "--layout", "dense")

    def test_groups_in_groups_too(self) -> None:
        hdf5({f"train/{name}/rgb/features": value for name, value in C3D.items()})
        said = brought(C3D, "hdf5", "a.h5", VIDEOS, "--prefix", "train/")
        assert "items are <id>/rgb/features" in said

    def test_a_table_orders_them(self) -> None:
        hdf5({f"{name}/c3d_features": value for name, value in C3D.items()})
        Path("k.csv").write_text("video_id,split\nv_bbb,val\nv_aaa,train\n")
        brought({key: C3D[key] for key in ("v_bbb", "v_aaa")}, "hdf5", "a.h5", VIDEOS, "--keys", "k.csv")

    def test_several_datasets_in_a_group_are_told_apart_by_name(self) -> None:
        others = {f"{name}/flow": -value for name, value in C3D.items()}
        hdf5({f"{name}/rgb": value for name, value in C3D.items()} | others)
        assert "Which belong to the items? Say --dataset" in refused("hdf5", "a.h5", VIDEOS)
        assert "has no array 'audio'" in refused("hdf5", "a.h5", VIDEOS, "--dataset", "audio")
        said = brought(C3D, "hdf5", "a.h5", VIDEOS, "--dataset", "rgb")
        assert "3 other arrays were skipped" in said

    def test_captions_in_groups(self) -> None:
        values = {("v1", 0): drawn(0, 4), ("v1", 1): drawn(1, 4), ("v2", 0): drawn(2, 4)}
        hdf5({f"{key[0]}/{key[1] + 1}": value for key, value in values.items()})
        brought(values, "hdf5", "a.h5", CAPTIONS)

    def test_one_matrix_with_a_table(self) -> None:
        matrix = drawn(0, 3, 5, dtype="float16")
        hdf5({"features": matrix})
        Path("k.csv").write_text("video_id\nc\na\nb\n")
        assert "3 tokens of one item, or 3 items?" in refused("hdf5", "a.h5", VIDEOS)
        assert "need a table of keys" in refused("hdf5", "a.h5", VIDEOS, "--dataset", "features")
        brought(dict(zip("cab", matrix, strict=True)), "hdf5", "a.h5", VIDEOS, "--keys", "k.csv")

    def test_one_of_several_matrices(self) -> None:
        matrix = drawn(1, 3, 2, 5)
        hdf5({"train/rgb": drawn(0, 3, 2, 5), "train/flow": matrix, "ids": np.ones((3, 5), int)})
        Path("k.csv").write_text("video_id,video_row\na,2\nb,0\n")
        expected = {"a": matrix[2], "b": matrix[0]}
        words = ["hdf5", "a.h5", VIDEOS, "--keys", "k.csv"]
        assert "lacks 2 of the 2 rows" in refused(*words)
        assert "floating point" in refused(*words, "--dataset", "ids")
        brought(expected, *words, "--dataset", "/train/flow")

    def test_rows_of_ragged_tokens(self) -> None:
        values = drawn(0, 5, 4)
        hdf5({"values": values, "offsets": np.array([0, 2, 5])})
        Path("k.csv").write_text("video_id\na\nb\n")
        brought({"a": values[:2], "b": values[2:]}, "hdf5", "a.h5", VIDEOS, "--keys", "k.csv")

    def test_a_matrix_that_has_not_the_table_s_rows_is_refused(self) -> None:
        hdf5({"features": drawn(0, 3, 5)})
        Path("k.csv").write_text("video_id\na\nb\n")
        assert "features of a.h5 has 3 rows (3, 5), the table of keys 2" in refused(
            "hdf5", "a.h5", VIDEOS, "--keys", "k.csv"
        )

    def test_a_group_of_all_datasets_is_part_of_ids_until_taken_off(self) -> None:
        hdf5({f"features/{name}": value for name, value in C3D.items()})
        planned = invoke("hdf5", "a.h5", VIDEOS, "--dry-run").output
        assert "'features/v_aaa'" not in planned and "first 'features/v_--0edUL8zmA'" in planned
        assert "to take it off: --prefix features/" in planned
        brought(C3D, "hdf5", "a.h5", VIDEOS, "--prefix", "features/")

    @pytest.mark.parametrize("how", [{"dtype": ">f4"}, {"chunks": (2, 2), "compression": "gzip"}, {"fletcher32": True}])
    def test_numbers_are_the_same_however_they_are_kept(self, how: dict) -> None:
        matrix = drawn(0, 7, 5)
        with h5py.File("a.h5", "w") as file:
            file.create_dataset("m", data=matrix, **how)
        Path("k.csv").write_text("video_id\n" + "\n".join("abcdefg"))
        brought(dict(zip("abcdefg", matrix, strict=True)), "hdf5", "a.h5", VIDEOS, "--keys", "k.csv")


def stream(path: str, table: pa.Table) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=2)


def saved(folder: str, table: pa.Table, n_shards: int, name: str = "data-{:05d}-of-{:05d}.arrow") -> None:
    """As `Dataset.save_to_disk` leaves it."""
    size = -(-len(table) // n_shards)
    names = [name.format(n, n_shards) for n in range(n_shards)]
    for n, one in enumerate(names):
        stream(f"{folder}/{one}", table.slice(n * size, size))
    state = {"_data_files": [{"filename": one} for one in names], "_fingerprint": "0", "_split": None}
    Path(folder, "state.json").write_text(json.dumps(state))
    Path(folder, "dataset_info.json").write_text("{}")


def array_2d(values: list[np.ndarray]) -> pa.Array:
    return pa.array([value.tolist() for value in values], pa.list_(pa.list_(pa.float32())))


def with_extension(table: pa.Table, column: str) -> pa.Table:
    """As a column of datasets' Array2D is written: lists, and the name of a type that pyarrow doesn't know."""
    about = {b"ARROW:extension:name": b"datasets.features.features.Array2DExtensionType"}
    place = table.schema.get_field_index(column)
    return table.cast(table.schema.set(place, table.schema.field(place).with_metadata(about)))


IDS = [f"video{n}" for n in (3, 1, 2, 10, 7)]
POOLED = drawn(0, 5, 4)
COLUMNS = {
    "list": pa.array(POOLED.tolist(), pa.list_(pa.float32())),
    "large list": pa.array(POOLED.tolist(), pa.large_list(pa.float32())),
    "fixed-size list": pa.FixedSizeListArray.from_arrays(pa.array(POOLED.reshape(-1)), 4),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(POOLED),
}


class TestArrow:
    @pytest.mark.parametrize("kind", COLUMNS)
    def test_a_stream_of_datasets_has_its_vectors(self, kind: str) -> None:
        stream("data-00000-of-00001.arrow", pa.table({"video_id": IDS, "n": [1, 2, 3, 4, 5], "emb": COLUMNS[kind]}))
        brought(dict(zip(IDS, POOLED, strict=True)), "parquet", "data-00000-of-00001.arrow", VIDEOS)

    def test_tokens_as_array_2d(self) -> None:
        tokens = [drawn(n, n + 2, 4) for n in range(5)]
        saved("saved", with_extension(pa.table({"vid": IDS, "emb": array_2d(tokens)}), "emb"), 1)
        brought(dict(zip(IDS, tokens, strict=True)), "parquet", "saved", VIDEOS, "--id-column", "vid")

    def test_tokens_as_a_tensor(self) -> None:
        tokens = drawn(0, 5, 3, 4)
        table = pa.table({"video_id": IDS, "emb": pa.FixedShapeTensorArray.from_numpy_ndarray(tokens)})
        stream("a.arrow", table)
        brought(dict(zip(IDS, tokens, strict=True)), "parquet", "a.arrow", VIDEOS)

    def test_a_tensor_with_swapped_axes_is_refused(self) -> None:
        kind = pa.fixed_shape_tensor(pa.float32(), [2, 3], permutation=[1, 0])
        values = pa.ExtensionArray.from_storage(kind, pa.array([[1.0] * 6], pa.list_(pa.float32(), 6)))
        stream("a.arrow", pa.table({"video_id": ["a"], "emb": values}))
        assert "its axes are swapped" in refused("parquet", "a.arrow", VIDEOS)

    def test_shards_are_one_table(self) -> None:
        ids = [f"v{n // 2}" for n in range(25)]  # a video's captions are in two shards
        values = drawn(0, 25, 4)
        saved(
            "saved",
            pa.table({"video_id": ids, "emb": values.tolist()}).cast(
                pa.schema([("video_id", pa.string()), ("emb", pa.list_(pa.float32()))])
            ),
            3,
        )
        keys = [(video_id, n % 2) for n, video_id in enumerate(ids)]
        brought(dict(zip(keys, values, strict=True)), "parquet", "saved", CAPTIONS)

    def test_shards_by_their_numbers_alone(self) -> None:
        for n in range(12):
            stream(f"s/part_{n}.arrow", pa.table({"video_id": [f"a{n}"], "emb": COLUMNS["list"][n % 5 : n % 5 + 1]}))
        brought({f"a{n}": POOLED[n % 5] for n in range(12)}, "parquet", "s", VIDEOS)

    def test_a_dict_of_splits(self) -> None:
        table = pa.table({"video_id": IDS, "emb": COLUMNS["list"]})
        saved("saved/train", table.slice(0, 3), 2)
        saved("saved/test", table.slice(3), 1)
        Path("saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        brought(dict(zip(IDS, POOLED, strict=True)), "parquet", "saved", VIDEOS)
        assert reelstore.open("store/m")["video/x/v"].split("test").ids == IDS[3:]

    def test_the_hub_s_parquet_files(self) -> None:
        table = pa.table({"video_id": IDS, "emb": COLUMNS["list"]})
        Path("data").mkdir()
        for name, start, n_rows in (
            ("test-00000-of-00001", 0, 1),
            ("train-00000-of-00002", 1, 2),
            ("train-00001-of-00002", 3, 2),
        ):
            pq.write_table(table.slice(start, n_rows), f"data/{name}.parquet")
        brought(dict(zip(IDS, POOLED, strict=True)), "parquet", "data", VIDEOS)
        assert reelstore.open("store/m")["video/x/v"].split("train").ids == IDS[1:]

    def test_feather(self) -> None:
        feather.write_feather(pa.table({"video_id": IDS, "emb": COLUMNS["list"]}), "a.feather")
        brought(dict(zip(IDS, POOLED, strict=True)), "parquet", "a.feather", VIDEOS)

    @pytest.mark.parametrize("name", ["float16", "float64"])
    def test_numbers_of_other_widths(self, name: str) -> None:
        values = POOLED.astype(name)
        pq.write_table(pa.table({"video_id": IDS, "emb": list(values)}), "a.parquet")
        words = ["parquet", "a.parquet", VIDEOS]
        if name == "float64":
            assert "--dtype float32" in refused(*words)
            words += ["--dtype", "float32"]
            values = values.astype("float32")
        brought(dict(zip(IDS, values, strict=True)), *words)

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda: Path("saved/data-00001-of-00003.arrow").unlink(), "data-00001-of-00003.arrow, which isn't there"),
            (lambda: Path("saved/state.json").write_text("{"), "state.json"),
            (lambda: Path("saved/state.json").write_text('{"_data_files": [{"filename": "../a"}]}'), "isn't a name"),
            (lambda: Path("saved/state.json").write_text("[]"), "lists no _data_files"),
            (lambda: Path("saved/state.json").write_text('{"_indices_data_files": [{}]}'), "selects rows by indices"),
            (
                lambda: Path("saved/state.json").unlink() or Path("saved/data-00002-of-00003.arrow").unlink(),
                "2 parts of 'data', numbered from 0: part 2",
            ),
            (lambda: stream("saved/data-00001-of-00003.arrow", pa.table({"video_id": ["a"]})), "different columns"),
            (
                lambda: Path("saved/data-00001-of-00003.arrow").write_bytes(b""),
                "data-00001-of-00003.arrow can't be read",
            ),
        ],
    )
    def test_shards_that_are_not_all_there_are_refused(self, spoil, says: str) -> None:
        saved("saved", pa.table({"video_id": IDS, "emb": COLUMNS["list"]}), 3)
        spoil()
        assert says in refused("parquet", "saved", VIDEOS)

    def test_one_shard_of_several_is_refused(self) -> None:
        saved("saved", pa.table({"video_id": IDS, "emb": COLUMNS["list"]}), 3)
        assert "one of 3 parts" in refused("parquet", "saved/data-00000-of-00003.arrow", VIDEOS)

    def test_messages_name_the_shard_and_its_row(self) -> None:
        vectors = pa.array([[1.0], [1.0], [1.0], None], pa.list_(pa.float32()))
        saved("saved", pa.table({"video_id": list("abcd"), "emb": vectors}), 2)
        assert "data-00001-of-00002.arrow, row 2 ('d'): emb is null" in refused("parquet", "saved", VIDEOS)
        saved("saved", pa.table({"video_id": ["a", "b", "c", ""], "emb": vectors}), 2)
        assert "data-00001-of-00002.arrow, row 2: video_id is empty" in refused("parquet", "saved", VIDEOS)


def clip_retrieval(n_parts: int, n_rows: int = 2, digits: int = 1) -> dict[str, np.ndarray]:
    """As clip-inference leaves it."""
    expected = {}
    for name in ("img_emb", "text_emb", "metadata"):
        Path(name).mkdir()
    for part in range(n_parts):
        values = drawn(part, n_rows, 4, dtype="float16")
        ids = [f"p{part}r{row}" for row in range(n_rows)]
        number = f"{part:0{digits}d}"
        np.save(f"img_emb/img_emb_{number}.npy", values)
        np.save(f"text_emb/text_emb_{number}.npy", -values)
        paths = [f"/data/{video_id}.jpg" for video_id in ids]
        pq.write_table(pa.table({"image_path": paths, "caption": ids}), f"metadata/metadata_{number}.parquet")
        expected |= dict(zip(ids, values, strict=True))
    return expected


CLIP = ["--keys", "metadata", "--id-column", "image_path", "--prefix", "/data/", "--suffix", ".jpg"]


class TestClipRetrieval:
    @pytest.mark.parametrize("digits", [1, 2])
    def test_parts_are_in_the_order_of_their_numbers(self, digits: int) -> None:
        brought(clip_retrieval(12, digits=digits), "array", "img_emb", VIDEOS, *CLIP)

    def test_captions_too(self) -> None:
        expected = {(key, 0): -value for key, value in clip_retrieval(11).items()}
        brought(expected, "array", "text_emb", CAPTIONS, *CLIP)

    def test_one_table_for_all_parts(self) -> None:
        expected = clip_retrieval(11)
        Path("k.csv").write_text("video_id\n" + "\n".join(expected))
        brought(expected, "array", "img_emb", VIDEOS, "--keys", "k.csv")

    def test_folders_may_be_links(self) -> None:
        expected = clip_retrieval(3)
        for name in ("img_emb", "metadata"):
            Path(name).rename(f"real_{name}")
            Path(name).symlink_to(f"real_{name}")
        brought(expected, "array", "img_emb", VIDEOS, *CLIP)

    def test_as_a_folder_of_items_it_is_doubtful(self) -> None:
        clip_retrieval(2)
        assert "are these parts of one matrix" in refused("npy", "img_emb", VIDEOS)

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (
                lambda: np.save("img_emb/img_emb_1.npy", drawn(0, 3, 4, dtype="float16")),
                "img_emb_1.npy has 3 rows, meta",
            ),
            (
                lambda: Path("img_emb/img_emb_1.npy").unlink(),
                "img_emb has 2 parts of 'img_emb', numbered from 0: part 1 isn't there",
            ),
            (
                lambda: Path("metadata/metadata_1.parquet").unlink(),
                "metadata has 2 parts of 'metadata', numbered from 0: part 1 isn't there",
            ),
            (lambda: np.save("img_emb/img_emb_1.npy", drawn(0, 2, 5, dtype="float16")), "one width"),
            (lambda: np.save("img_emb/img_emb_1.npy", drawn(0, 2, 4)), "one width and kind of numbers"),
            (lambda: np.save("img_emb/img_emb_01.npy", drawn(0, 2, 4)), "are both part 1"),
            (lambda: Path("metadata/metadata_2.parquet").unlink(), "metadata has no part 2; the other has"),
            (lambda: np.save("img_emb/img_emb_99999999999.npy", drawn(0, 2, 4)), "isn't there"),
            (lambda: np.save("img_emb/extra.npy", drawn(0, 2, 4)), "extra.npy has no number"),
            (lambda: np.save("img_emb/text_emb_0.npy", drawn(0, 2, 4)), "parts of several wholes"),
            (
                lambda: pq.write_table(
                    pa.table({"image_path": ["/data/p0r0.jpg", "/data/z.jpg"]}), "metadata/metadata_1.parquet"
                ),
                "rows",
            ),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, spoil, says: str) -> None:
        clip_retrieval(3)
        spoil()
        assert says in refused("array", "img_emb", VIDEOS, *CLIP)


MSRVTT = {f"video{n}": drawn(n, 4) for n in (2, 10, 8421)}
PREFIX = "msr_vtt-I3D-RGBFeatures-"


class TestAffixes:
    @pytest.mark.parametrize("kind", ["npy", "hdf5", "npz", "safetensors", "torch"])
    def test_are_taken_off_names(self, kind: str) -> None:
        items = {f"{PREFIX}{name}.mp4": value for name, value in MSRVTT.items()}
        path = f"a.{kind}"
        if kind == "npy":
            npy(path, items)
        elif kind == "hdf5":
            hdf5(items, path)
        elif kind == "npz":
            with open(path, "wb") as file:
                np.savez(file, **items)
        elif kind == "safetensors":
            save_file(items, path)
        else:
            torch.save({name: torch.from_numpy(value) for name, value in items.items()}, path)
        Path("k.csv").write_text("video_id\nvideo10\nvideo2\n")
        hint = refused(kind, path, VIDEOS, "--keys", "k.csv")
        assert f"--prefix '{PREFIX}' --suffix '.mp4'" in hint
        options = ["--prefix", PREFIX, "--suffix", ".mp4"]
        brought({key: MSRVTT[key] for key in ("video10", "video2")}, kind, path, VIDEOS, "--keys", "k.csv", *options)

    def test_without_the_option_they_stay(self) -> None:
        npy("real", {f"{name}.mp4": value for name, value in MSRVTT.items()})
        Path("v").symlink_to("real")
        brought({f"{name}.mp4": value for name, value in MSRVTT.items()}, "npy", "v", VIDEOS)

    @pytest.mark.parametrize("where", ["table", "names", "both"])
    def test_of_a_table_or_of_names_or_of_both(self, where: str) -> None:
        npy("v", {name + ".mp4" * (where != "table"): value for name, value in MSRVTT.items()})
        Path("k.csv").write_text("\n".join(["video_id", *(f"{name}{'.mp4' * (where != 'names')}" for name in MSRVTT)]))
        brought(MSRVTT, "npy", "v", VIDEOS, "--keys", "k.csv", "--suffix", ".mp4")

    def test_of_captions_before_and_after_the_number(self) -> None:
        values = {("video0", 0): drawn(0, 4), ("video0", 1): drawn(1, 4)}
        npy("t", {"video0.mp4-1": values["video0", 0], "video0-2.mp4": values["video0", 1]})
        brought(values, "npy", "t", CAPTIONS, "--suffix", ".mp4")

    def test_of_a_parquet_file(self) -> None:
        pq.write_table(pa.table({"video_id": [f"{name}.mp4" for name in IDS], "v": COLUMNS["list"]}), "a.parquet")
        assert "no id has --suffix '.avi'" in refused("parquet", "a.parquet", VIDEOS, "--suffix", ".avi")
        brought(dict(zip(IDS, POOLED, strict=True)), "parquet", "a.parquet", VIDEOS, "--suffix", ".mp4")

    @pytest.mark.parametrize(
        ("names", "says"),
        [
            (["a.mp4", "b"], "'b' doesn't have --suffix '.mp4', which others have"),
            (["a", "b"], "no item's name has --suffix '.mp4'. Names are like 'a', 'b'"),
            (["a.mp4", ".mp4x"], "'.mp4x' doesn't have"),
        ],
    )
    def test_some_names_without_are_refused(self, names: list[str], says: str) -> None:
        hdf5({name: drawn(0, 4) for name in names})
        assert says in refused("hdf5", "a.h5", VIDEOS, "--suffix", ".mp4")

    def test_some_ids_of_a_table_without_are_refused(self) -> None:
        npy("v", {"a": drawn(0, 4)})
        Path("k.csv").write_text("video_id\na.mp4\nb\n")
        words = ["npy", "v", VIDEOS, "--keys", "k.csv"]
        assert "k.csv, line 3: 'b' doesn't have --suffix '.mp4'" in refused(*words, "--suffix", ".mp4")
        assert "and no id of k.csv" in refused(*words, "--suffix", ".avi")

    def test_two_names_of_one_id_are_refused(self) -> None:
        npy("v", {"video0.mp4": drawn(0, 4), "video0": drawn(1, 4)})
        Path("k.csv").write_text("video_id\nvideo0\n")
        assert "video0' doesn't have" in refused("npy", "v", VIDEOS, "--suffix", ".mp4")
        brought({"video0": drawn(0, 4)}, "npy", "v", VIDEOS, "--suffix", ".mp4", "--keys", "k.csv")


class TestCaptions:
    def test_one_each_named_by_the_video(self) -> None:
        values = {(f"clip-2024010{n}120000", 0): drawn(n, 4) for n in range(3)}
        npy("t", {key[0]: value for key, value in values.items()})
        said = refused("npy", "t", CAPTIONS)
        assert "the number of 'clip-20240100120000' is too high; at most 2147483647 is kept" in said
        assert "--captions one" in said
        brought(values, "npy", "t", CAPTIONS, "--captions", "one")

    @pytest.mark.parametrize("names", [["game-7", "game-9"], ["2024-01", "2024-02"], ["v1-1", "v2-2"], ["a/05"]])
    def test_names_that_may_be_ids_are_doubtful(self, names: list[str]) -> None:
        values = {name: drawn(n, 4) for n, name in enumerate(names)}
        np.savez("a.npz", **values)
        assert "Say --captions numbered, or --captions one" in refused("npz", "a.npz", CAPTIONS)
        brought({(name, 0): value for name, value in values.items()}, "npz", "a.npz", CAPTIONS, "--captions", "one")

    def test_numbered_is_the_other_answer(self) -> None:
        npy("t", {f"game-{n}": drawn(n, 4) for n in (7, 9)})
        expected = {("game", 6): drawn(7, 4), ("game", 8): drawn(9, 4)}
        brought(expected, "npy", "t", CAPTIONS, "--captions", "numbered")

    def test_numbered_from_1_is_not_from_0(self) -> None:
        npy("t", {f"a-{n}": drawn(n, 4) for n in (1, 2)})
        assert "Numbered from 1? Say --first 1" in refused("npy", "t", CAPTIONS, "--first", 0)

    def test_a_table_that_names_them_leaves_no_doubt(self) -> None:
        npy("t", {f"game-{n}": drawn(n, 4) for n in (7, 9)})
        Path("k.csv").write_text("video_id,caption_index\ngame,8\ngame,6\n")
        expected = {("game", 8): drawn(9, 4), ("game", 6): drawn(7, 4)}
        brought(expected, "npy", "t", CAPTIONS, "--keys", "k.csv")

    @pytest.mark.parametrize("leading", [(), (3,)], ids=["pooled", "tokens"])
    def test_all_of_a_video_in_one_file(self, leading: tuple[int, ...]) -> None:
        stacks = {f"video{n}": drawn(n, 2 + n, *leading, 4) for n in (0, 2, 10)}
        npy("t", stacks)
        assert "has no number" in refused("npy", "t", CAPTIONS)
        expected = {(name, row): stack[row] for name, stack in stacks.items() for row in range(len(stack))}
        brought(expected, "npy", "t", CAPTIONS, "--captions", "rows")

    def test_all_of_a_video_in_one_file_by_a_table(self) -> None:
        stacks = {f"video{n}": drawn(n, 3, 4) for n in range(3)}
        hdf5({f"{name}/bert": stack for name, stack in stacks.items()})
        Path("k.csv").write_text("video_id,caption_index\nvideo2,1\nvideo0,2\nvideo2,0\n")
        expected = {
            ("video2", 1): stacks["video2"][1],
            ("video0", 2): stacks["video0"][2],
            ("video2", 0): stacks["video2"][0],
        }
        said = brought(expected, "hdf5", "a.h5", CAPTIONS, "--captions", "rows", "--keys", "k.csv")
        assert "4 items aren't in k.csv and were skipped" in said

    def test_a_file_with_fewer_captions_than_the_table_is_refused(self) -> None:
        npy("t", {"a": drawn(0, 2, 4), "b": drawn(1, 4)})
        words = ["npy", "t", CAPTIONS, "--captions", "rows", "--keys", "k.csv"]
        Path("k.csv").write_text("video_id\na\na\na\n")
        assert "lacks 1 of the 3 rows of k.csv: ('a', 2)" in refused(*words)
        Path("k.csv").write_text("video_id\na\nb\n")
        assert "b.npy has shape (4,); with --captions rows it is (n_captions, dim)" in refused(*words)

    def test_tvr_s_descriptions_by_a_table(self) -> None:
        values = {"90200": drawn(0, 3, 4), "90199": drawn(1, 2, 4), "7": drawn(2, 5, 4), "8": drawn(3, 1, 4)}
        hdf5(values)
        lines = [
            {"vid_name": "friends_clip_19", "desc_id": 90200, "desc": "x", "ts": [16.48, 33.87]},
            {"vid_name": "house_clip-3", "desc_id": 7, "desc": "y", "ts": [0.0, 1.5]},
            {"vid_name": "friends_clip_19", "desc_id": 90199, "desc": "z", "ts": [0.5, 1]},
        ]
        Path("tvr.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert "has no number" in refused("hdf5", "a.h5", CAPTIONS)
        expected = {("friends_clip_19", 0): values["90200"], ("house_clip-3", 0): values["7"]}
        expected["friends_clip_19", 1] = values["90199"]
        options = ["--keys", "tvr.jsonl", "--id-column", "vid_name", "--name-column", "desc_id"]
        said = brought(expected, "hdf5", "a.h5", CAPTIONS, *options)
        assert "1 items aren't in tvr.jsonl" in said and "3 captions of 2 videos" in said

    def test_what_a_table_could_mean_is_said(self) -> None:
        npy("t", {"video0_1": drawn(0, 4), "video0_2": drawn(1, 4)})
        Path("k.csv").write_text("video_id,file\nvideo0,video0_2\nvideo0,video0_1\n")
        words = ["npy", "t", CAPTIONS, "--keys", "k.csv"]
        assert "no row has: 'video0_1', 'video0_2'. If a column of the table has their names, say --name-column" in (
            refused(*words)
        )
        expected = {("video0", 0): drawn(1, 4), ("video0", 1): drawn(0, 4)}
        brought(expected, *words, "--name-column", "file")

    def test_captions_named_by_their_video_are_offered_both_ways(self) -> None:
        npy("t", {"a": drawn(0, 4), "b": drawn(1, 4)})
        Path("k.csv").write_text("video_id\na\nb\n")
        assert "--captions one; if all its captions: --captions rows" in refused(
            "npy", "t", CAPTIONS, "--keys", "k.csv"
        )

    def test_videos_by_a_table_of_names(self) -> None:
        npy("v", {f"{n}.feat": drawn(n, 4) for n in range(3)})
        Path("k.csv").write_text("vid,file\nb,2\na,0\nb,2\n")
        options = ["--keys", "k.csv", "--id-column", "vid", "--name-column", "file", "--suffix", ".feat"]
        brought({"b": drawn(2, 4), "a": drawn(0, 4)}, "npy", "v", VIDEOS, *options)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--id-column", "vid"], "no column 'vid'"),
            (["--name-column", "nam"], "no column 'nam'"),
            (["--name-column", "file"], "line 3: file is empty"),
        ],
    )
    def test_columns_that_are_not_there_are_refused(self, options: list[str], says: str) -> None:
        npy("v", {"a": drawn(0, 4)})
        Path("k.csv").write_text("video_id,file\na,a\nb,\n")
        assert says in refused("npy", "v", VIDEOS, "--keys", "k.csv", *options)


class TestFiles:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_npz_has_an_array_an_item(self, save) -> None:
        tokens = {f"video{n}": drawn(n, n + 1, 4) for n in (2, 10)}
        odd = {"video2": np.asfortranarray(tokens["video2"]), "video10": tokens["video10"].astype(">f4")}
        save("a.npz", **odd)
        brought(tokens, "npz", "a.npz", VIDEOS)

    def test_npz_has_one_matrix(self) -> None:
        matrix = drawn(0, 3, 4)
        np.savez("a.npz", emb=matrix, ids=np.array(["a", "b", "c"]))
        Path("k.csv").write_text("video_id\na\nb\nc\n")
        brought(dict(zip("abc", matrix, strict=True)), "npz", "a.npz", VIDEOS, "--keys", "k.csv", "--array", "emb")

    @pytest.mark.parametrize(
        ("arrays", "says"),
        [
            ({"a": np.array([{"x": 1}], dtype=object)}, "holds Python objects or records (object)"),
            ({"a": np.ones(3, [("x", "f4")])}, "holds Python objects or records"),
            ({"a": np.array(["x"])}, "holds Python objects or records"),
            ({"a": np.arange(4)}, "floating point, these are not: int64"),
            ({"a": np.ones(4, bool)}, "these are not: bool"),
            ({"a": np.ones(4, complex)}, "these are not: complex128"),
            ({"a": np.float32(1)}, "has shape ()"),
            ({"a": drawn(0, 4, dtype="float64")}, "--dtype float32"),
            ({"a": drawn(0, 2, 2, 4)}, "has shape (2, 2, 4)"),
            ({}, "holds no arrays"),
        ],
    )
    def test_npz_of_something_else_is_refused(self, arrays: dict, says: str) -> None:
        np.savez("a.npz", **arrays)
        assert says in refused("npz", "a.npz", VIDEOS)

    def test_a_damaged_npz_is_refused_by_its_name(self) -> None:
        np.savez("a.npz", a=drawn(0, 400), b=drawn(1, 400))
        whole = Path("a.npz").read_bytes()
        for n in (10, 200, 1000, len(whole) - 10):
            Path("a.npz").write_bytes(whole[:n])
            assert "a.npz can't be read as npz" in refused("npz", "a.npz", VIDEOS)
        Path("a.npz").write_bytes(whole[:1000] + b"\1\2\3" + whole[1003:])
        done = invoke("npz", "a.npz", VIDEOS)
        assert done.exit_code == 1 and "Bad CRC-32" in done.output

    def test_torch_has_a_tensor_an_item(self) -> None:
        values = {f"video{n}": drawn(n, 4) for n in (2, 10)}
        torch.save({name: torch.from_numpy(value).bfloat16() for name, value in values.items()}, "a.pt")
        expected = {name: torch.from_numpy(value).bfloat16().float().numpy() for name, value in values.items()}
        brought(expected, "torch", "a.pt", VIDEOS)

    @pytest.mark.parametrize("content", [{"a": [1.0]}, [torch.ones(3)], {"a": {"b": torch.ones(3)}}, {}])
    def test_torch_of_something_else_is_refused(self, content) -> None:
        torch.save(content, "a.pt")
        assert "a.pt" in refused("torch", "a.pt", VIDEOS)


def tarred(path: str) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("000000.npy"), io.BytesIO())


def zipped(path: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")


def matlab(path: str) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"] = drawn(0, 4)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


def lmdb(path: str) -> None:
    Path(path).mkdir()
    Path(path, "data.mdb").write_bytes(bytes(16) + b"\xde\xc0\xef\xbe")


OTHERS = {
    "caption.pickle": (lambda path: Path(path).write_bytes(pickle.dumps({"a": drawn(0, 4)})), "is a Python pickle"),
    "old.pkl": (lambda path: Path(path).write_bytes(pickle.dumps({"a": 1}, protocol=0)), "is a Python pickle"),
    "shard.tar": (tarred, "is a tar archive, such as a shard of WebDataset"),
    "lmdb": (lmdb, "is an LMDB database"),
    "data.mdb": (lambda path: Path(path).write_bytes(bytes(16) + b"\xde\xc0\xef\xbe"), "is an LMDB database"),
    "new.mat": (matlab, "the axes of each array are reversed"),
    "old.mat": (lambda path: Path(path).write_bytes(b"MATLAB 5.0 MAT-file"), "is a MATLAB file"),
    "a.npy.gz": (lambda path: Path(path).write_bytes(b"\x1f\x8b\x08"), "compressed by gzip"),
    "a.zip": (zipped, "is a zip archive"),
    "a.npz": (lambda path: np.savez(path, a=drawn(0, 4)), "reelstore import npz"),
    "a.npy": (lambda path: np.save(path, drawn(0, 4)), "reelstore import array"),
    "a.pth": (lambda path: torch.save({"a": torch.ones(4)}, path), "reelstore import torch"),
    "a.h5": (lambda path: hdf5({"a": drawn(0, 4)}, path), "reelstore import hdf5"),
    "a.parquet": (lambda path: pq.write_table(pa.table({"a": [1]}), path), "reelstore import parquet"),
    "a.arrow": (lambda path: feather.write_feather(pa.table({"a": [1]}), path), "reelstore import parquet"),
    "a.safetensors": (lambda path: save_file({"a": drawn(0, 4)}, path), "reelstore import safetensors"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_refused_with_what_to_do(name: str) -> None:
    make, says = OTHERS[name]
    make(name)
    right = says.rpartition(" ")[2] if says.startswith("reelstore import") else ""
    Path("k.csv").write_text("video_id\na\n")
    for command in ("npy", "array", "hdf5", "npz", "safetensors", "torch", "parquet"):
        if command != right:
            keys = ["--keys", "k.csv"] if command == "array" else []
            assert says in refused(command, name, VIDEOS, *keys), command


@pytest.mark.parametrize("command", ["npy", "array", "hdf5", "npz", "safetensors", "torch", "parquet"])
def test_a_path_that_is_not_there_is_refused(command: str) -> None:
    Path("k.csv").write_text("video_id\na\n")
    keys = ["--keys", "k.csv"] if command == "array" else []
    said = refused(command, "none.parquet", VIDEOS, *keys)
    assert "none.parquet" in said and "no such file" in said.casefold()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_vectors_in_cells_of_text_are_refused_with_what_to_do(name: str) -> None:
    Path(name).write_text('video_id,emb\na,"[0.1, 0.2]"\n')
    assert "Vectors in cells of CSV or JSON are text: write Parquet" in refused("parquet", name, VIDEOS)


def test_a_folder_without_npy_files_says_where_it_looked() -> None:
    npy("deep/v", {"a": drawn(0, 4)})
    assert "deep has no .npy files. Folders below it aren't searched" in refused("npy", "deep", VIDEOS)
