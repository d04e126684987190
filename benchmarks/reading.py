"""Random batches out of a store of embeddings: reelstore beside what else people keep them in.

    python benchmarks/reading.py --small
    python benchmarks/reading.py --out reading.json

Four workloads: P, pooled captions (n, 4096) in batches of 256; V, pooled videos, the same in smaller shards; T, video
tokens (n, 32, 4096) in batches of 32; R, ragged caption tokens (5 to 25, 4096) in batches of 64, wanted one behind the
other. All float16, drawn, on warm pages.

Contenders take turns in one run, in a new random order each round, so that what else the machine does meets all
of them; a ratio is of two times of one round. 1 is `np.take(out=)` from memory, in the mode ("clip") that gathers
straight into `out`. Every contender's first batch is compared with what memory gives. What isn't installed (extra
`bench` of pyproject.toml) is listed as that.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Read = Callable[[np.ndarray], Any]
"""Positions (k,) -> the batch, an array or what NumPy takes for one."""

DIM = 4096
DTYPE = np.dtype("float16")
SAMPLE_SECONDS = 0.05
"""Batches are timed in groups that take about this long: each contender finds caches full of another's rows first."""


@dataclass(frozen=True)
class Workload:
    """What is stored, and how much is asked for at once.

    Attributes:
        name: P, V, T or R.
        side: `video` or `text`: decides how many rows reelstore puts into a shard.
        n_items: rows or captions.
        n_tokens: of every item; 0 pooled, None where it varies.
        batch: items asked for.
    """

    name: str
    side: str
    n_items: int
    n_tokens: int | None
    batch: int

    @property
    def ragged(self) -> bool:
        return self.n_tokens is None

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one row of the values; where ragged, of a token."""
        return (self.n_tokens, DIM) if self.n_tokens else (DIM,)

    def buffer(self) -> np.ndarray:
        """Where a batch goes."""
        from reelstore.store.arrays import aligned_empty

        return aligned_empty((self.batch * 25 if self.ragged else self.batch, *self.row), DTYPE)


@dataclass(frozen=True)
class Data:
    """A workload's values in memory: (n_items, *row), or (n_tokens_total, dim) with offsets (n_items + 1,)."""

    workload: Workload
    values: np.ndarray
    offsets: np.ndarray

    def item(self, number: int) -> np.ndarray:
        return self.values[self.offsets[number] : self.offsets[number + 1]].reshape(-1, *self.workload.row)


def draw(workload: Workload, seed: int) -> Data:
    """Values of a workload: random bits, none of them NaN or infinity."""
    from reelstore.store.arrays import aligned_empty

    rng = np.random.default_rng(seed)
    counts = rng.integers(5, 26, workload.n_items) if workload.ragged else np.ones(workload.n_items, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = aligned_empty((int(offsets[-1]), *workload.row), DTYPE)
    bits = values.reshape(-1).view(np.uint16)
    for start in range(0, len(bits), 2**24):
        part = bits[start : start + 2**24]
        part[:] = rng.integers(0, 0x7C00, len(part), dtype=np.uint16)
    return Data(workload, values, offsets)


def token_index(offsets: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Numbers of all tokens of these items."""
    starts = offsets[positions]
    counts = offsets[positions + 1] - starts
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])


def gathering(values: np.ndarray, offsets: np.ndarray, workload: Workload, mode: str = "clip") -> Read:
    """`np.take(out=)` of rows or tokens."""
    out = workload.buffer()

    def read(positions: np.ndarray) -> np.ndarray:
        index = token_index(offsets, positions) if workload.ragged else positions
        return np.take(values, index, axis=0, out=out[: len(index)], mode=mode)

    return read


def item_by_item(item: Callable[[int], np.ndarray], workload: Workload) -> Read:
    """Items copied into one buffer, where a format gives them one at a time."""
    out = workload.buffer()

    def read(positions: np.ndarray) -> np.ndarray:
        place = 0
        for position in positions.tolist():
            value = item(position).reshape(-1, *workload.row)
            out[place : place + len(value)] = value
            place += len(value)
        return out[:place]

    return read


class Contender:
    """A way to keep and read embeddings: `write` fills a folder, `open` reads from it.

    Attributes:
        name: as printed.
        modules: imported before it is opened; the first is the package whose absence means not installed.
        folder: shared by those who read the same files.
    """

    name: str
    modules: tuple[str, ...] = ("numpy",)
    folder: str
    writes = True

    def write(self, data: Data, folder: Path) -> None:
        raise NotImplementedError

    def open(self, workload: Workload, folder: Path) -> Read:
        raise NotImplementedError


class Reelstore(Contender):
    name, modules, folder = "reelstore", ("reelstore.store.read",), "zarr"
    gives_out = True

    def write(self, data: Data, folder: Path) -> None:
        import reelstore

        workload = data.workload
        side = workload.side
        keys = [("video", number) if side == "text" else f"video{number}" for number in range(workload.n_items)]
        values = np.split(data.values, data.offsets[1:-1]) if workload.ragged else data.values
        reelstore.open(folder, create=True).write(f"{side}/drawn/drawn", keys, values)

    def open(self, workload: Workload, folder: Path) -> Read:
        import reelstore

        rows = reelstore.open(folder)[f"{workload.side}/drawn/drawn"]
        out = workload.buffer() if self.gives_out else None
        if workload.ragged:
            return lambda positions: rows.take_ragged(positions, out=out)[0]
        return lambda positions: rows.take(positions, out=None if out is None else out[: len(positions)])


class ReelstoreNewArrays(Reelstore):
    name, writes, gives_out = "reelstore, a new array each time", False, False


class OneNpy(Contender):
    name, folder = "one .npy, mapped", "npy"

    def write(self, data: Data, folder: Path) -> None:
        np.save(folder / "values.npy", data.values)
        np.save(folder / "offsets.npy", data.offsets)

    def open(self, workload: Workload, folder: Path) -> Read:
        values = np.asarray(np.load(folder / "values.npy", mmap_mode="r"))
        return gathering(values, np.load(folder / "offsets.npy"), workload)


class NpyPerItem(Contender):
    name, folder = "one .npy an item", "npys"

    def write(self, data: Data, folder: Path) -> None:
        for number in range(data.workload.n_items):
            np.save(folder / f"{number}.npy", data.item(number))

    def open(self, workload: Workload, folder: Path) -> Read:
        return item_by_item(lambda number: np.load(f"{folder}/{number}.npy"), workload)


class Hdf5(Contender):
    name, modules, folder = "HDF5", ("h5py",), "hdf5"

    def write(self, data: Data, folder: Path) -> None:
        import h5py

        with h5py.File(folder / "values.h5", "w") as file:
            file["values"], file["offsets"] = data.values, data.offsets

    def open(self, workload: Workload, folder: Path) -> Read:
        import h5py

        file = h5py.File(folder / "values.h5")
        values, offsets, out = file["values"], file["offsets"][:], workload.buffer()

        def read(positions: np.ndarray) -> np.ndarray:
            # One selection of many rows takes it longer than many of one row.
            place = 0
            for start, stop in zip(offsets[positions].tolist(), offsets[positions + 1].tolist(), strict=True):
                values.read_direct(out, np.s_[start:stop], np.s_[place : place + stop - start])
                place += stop - start
            return out[:place]

        return read


class ZarrPython(Contender):
    name, modules, folder, writes = "zarr-python, the same files", ("zarr",), "zarr", False

    def open(self, workload: Workload, folder: Path) -> Read:
        import zarr

        path = folder / workload.side / "drawn/drawn"
        values = zarr.open_array(path / "values", mode="r")
        offsets = zarr.open_array(path / "offsets", mode="r")[:] if workload.ragged else np.empty(0)

        def read(positions: np.ndarray) -> np.ndarray:
            return values.oindex[token_index(offsets, positions) if workload.ragged else positions]

        return read


class Zarrs(ZarrPython):
    name, modules = "zarr-python with zarrs, the same files", ("zarrs", "zarr")

    def open(self, workload: Workload, folder: Path) -> Read:
        import zarr

        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            return super().open(workload, folder)


class Tensorstore(Contender):
    name, modules, folder, writes = "tensorstore, the same files", ("tensorstore",), "zarr", False

    def open(self, workload: Workload, folder: Path) -> Read:
        import tensorstore

        path = folder / workload.side / "drawn/drawn"

        def array(name: str) -> Any:
            store = {"driver": "file", "path": str(path / name)}
            return tensorstore.open({"driver": "zarr3", "kvstore": store}, open=True, read=True).result()

        values = array("values")
        offsets = array("offsets").read().result() if workload.ragged else np.empty(0)

        def read(positions: np.ndarray) -> np.ndarray:
            return values[token_index(offsets, positions) if workload.ragged else positions].read().result()

        return read


def arrow_column(data: Data) -> Any:
    """Items as Arrow has them: lists of a fixed size, or of any where ragged."""
    import pyarrow

    flat = pyarrow.array(data.values.reshape(-1))
    if data.workload.ragged:
        return pyarrow.LargeListArray.from_arrays(pyarrow.array(data.offsets * DIM), flat)
    return pyarrow.FixedSizeListArray.from_arrays(flat, int(np.prod(data.workload.row)))


class Arrow(Contender):
    name, modules, folder = "Arrow file, mapped", ("pyarrow",), "arrow"

    def write(self, data: Data, folder: Path) -> None:
        import pyarrow

        table = pyarrow.table({"values": arrow_column(data)})
        path = str(folder / "values.arrow")
        with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    def open(self, workload: Workload, folder: Path) -> Read:
        import pyarrow

        with pyarrow.memory_map(str(folder / "values.arrow")) as source:
            values = pyarrow.ipc.open_file(source).read_all()["values"].chunk(0)

        def read(positions: np.ndarray) -> np.ndarray:
            return values.take(pyarrow.array(positions)).flatten().to_numpy().reshape(-1, *workload.row)

        return read


class Datasets(Contender):
    name, modules, folder = "Arrow through datasets", ("datasets", "pyarrow"), "datasets"

    def write(self, data: Data, folder: Path) -> None:
        import pyarrow

        import datasets

        column = arrow_column(data).cast(pyarrow.large_list(pyarrow.float16()))
        datasets.Dataset(pyarrow.table({"values": column})).save_to_disk(folder / "dataset")

    def open(self, workload: Workload, folder: Path) -> Read:
        import datasets

        dataset = datasets.load_from_disk(folder / "dataset").with_format("arrow")

        def read(positions: np.ndarray) -> np.ndarray:
            # Its own NumPy format converts list by list, which takes longer.
            batch = dataset[positions.tolist()]["values"].combine_chunks()
            return batch.flatten().to_numpy().reshape(-1, *workload.row)

        return read


class Lance(Contender):
    name, modules, folder = "Lance", ("lance", "pyarrow"), "lance"

    def write(self, data: Data, folder: Path) -> None:
        import lance
        import pyarrow

        lance.write_dataset(pyarrow.table({"values": arrow_column(data)}), folder / "values.lance")

    def open(self, workload: Workload, folder: Path) -> Read:
        import lance

        dataset = lance.dataset(folder / "values.lance")

        def read(positions: np.ndarray) -> np.ndarray:
            found = dataset.take(positions, columns=["values"])["values"].combine_chunks()
            return found.flatten().to_numpy().reshape(-1, *workload.row)

        return read


class LitData(Contender):
    name, modules, folder = "LitData", ("litdata",), "litdata"

    def write(self, data: Data, folder: Path) -> None:
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(str(folder / "chunks"), chunk_bytes="64MB")
        for number in range(data.workload.n_items):
            writer[number] = [data.item(number)]
        writer.done()
        writer.merge()

    def open(self, workload: Workload, folder: Path) -> Read:
        from litdata import StreamingDataset

        dataset = StreamingDataset(str(folder / "chunks"))
        return item_by_item(lambda number: dataset[number][0], workload)


class Safetensors(Contender):
    name, modules, folder = "safetensors", ("safetensors",), "safetensors"

    def write(self, data: Data, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"values": data.values, "offsets": data.offsets}, folder / "values.safetensors")

    def open(self, workload: Workload, folder: Path) -> Read:
        from safetensors import safe_open

        file = safe_open(folder / "values.safetensors", framework="numpy")
        values, offsets = file.get_slice("values"), file.get_tensor("offsets")
        return item_by_item(lambda number: values[int(offsets[number]) : int(offsets[number + 1])], workload)


CONTENDERS = [
    Reelstore(), ReelstoreNewArrays(), OneNpy(), Arrow(), Datasets(), Tensorstore(), Lance(), Safetensors(), Hdf5(),
    NpyPerItem(), LitData(), ZarrPython(), Zarrs(),
]  # fmt: skip
RAM, RAM_DEFAULT = "memory, np.take(out=, mode=clip)", "memory, np.take(out=)"
PLAIN = {"reelstore", "reelstore, a new array each time", "one .npy, mapped", RAM, RAM_DEFAULT}
"""Not what "other store formats" are: ours, memory, and a bare mapped file."""


def installed(contender: Contender) -> bool:
    return all(importlib.util.find_spec(module.split(".")[0]) for module in contender.modules)


def measure(workload: Workload, folder: Path, *, repeats: int, seed: int) -> dict[str, Any]:
    """Seconds a batch and ratios of every contender; what went wrong or isn't there by name."""
    data = draw(workload, seed)
    reads: dict[str, Read] = {
        RAM: gathering(data.values, data.offsets, workload),
        RAM_DEFAULT: gathering(data.values, data.offsets, workload, mode="raise"),
    }
    absent: dict[str, str] = {}
    first = np.random.default_rng(seed).integers(0, workload.n_items, workload.batch)
    for contender in CONTENDERS:
        if not installed(contender):
            absent[contender.name] = "not installed"
            continue
        say(f"{workload.name}: {contender.name}")
        try:
            place = folder / contender.folder
            if contender.writes:
                place.mkdir()
                contender.write(data, place)
            read = contender.open(workload, place)
            same = np.array_equal(np.asarray(read(first)), reads[RAM](first))
        except Exception as error:  # a contender that fails is a result
            absent[contender.name] = f"failed: {type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        if not same:
            absent[contender.name] = "gave other values"
            continue
        reads[contender.name] = read
    groups = {name: warm(read, workload) for name, read in reads.items()}
    say(f"{workload.name}: {repeats} rounds")
    seconds: dict[str, list[float]] = {name: [] for name in reads}
    rng = np.random.default_rng(seed + 1)
    for _ in range(repeats):
        for name in rng.permutation(list(reads)).tolist():
            batches = rng.integers(0, workload.n_items, (groups[name], workload.batch))
            start = time.perf_counter()
            for positions in batches:
                reads[name](positions)
            seconds[name].append((time.perf_counter() - start) / len(batches))
    base = np.array(seconds[RAM])
    results = {
        name: {
            "seconds_per_batch": quartiles(np.array(times)),
            "ratio_to_memory": quartiles(base / np.array(times)),
            "items_per_second": workload.batch / float(np.median(times)),
            "batches_a_sample": groups[name],
            "n_samples": len(times),
        }
        for name, times in seconds.items()
    }
    return {"workload": asdict(workload), "n_bytes": data.values.nbytes, "results": results, "absent": absent}


def warm(read: Read, workload: Workload) -> int:
    """Read all items once, two seconds at most; how many batches make a sample."""
    began = time.perf_counter()
    for start in range(0, workload.n_items - workload.batch + 1, workload.batch):
        read(np.arange(start, start + workload.batch))
        if time.perf_counter() - began > 2:
            break
    batches = np.random.default_rng(0).integers(0, workload.n_items, (3, workload.batch))
    began = time.perf_counter()
    for positions in batches:
        read(positions)
    took = (time.perf_counter() - began) / len(batches)
    return int(np.clip(round(SAMPLE_SECONDS / took), 1, 500))


def measure_opening(workload: Workload, folder: Path, *, repeats: int) -> dict[str, Any]:
    """Seconds of imports, of opening, and of the first row, each in processes of its own."""
    found: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in CONTENDERS}
    for _ in range(repeats):
        for contender in CONTENDERS:
            if not installed(contender) or not (folder / contender.folder).exists():
                continue
            command = [sys.executable, __file__, "--opening", contender.name, str(folder), json.dumps(asdict(workload))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found[contender.name].append(json.loads(done.stdout.splitlines()[-1]))
    keys = ("imports", "opening", "first_row")
    return {
        name: {key: quartiles(np.array([time[key] for time in times])) for key in keys}
        for name, times in found.items()
        if times
    }


def open_once(name: str, folder: Path, workload: Workload) -> None:
    """In a process of its own: prints the seconds of `measure_opening`."""
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    start = time.perf_counter()
    for module in contender.modules:
        importlib.import_module(module)
    imports = time.perf_counter() - start
    workload.buffer()  # imports what isn't the contender's
    start = time.perf_counter()
    read = contender.open(workload, folder / contender.folder)
    opened = time.perf_counter()
    read(np.array([workload.n_items // 2]))
    done = time.perf_counter()
    print(json.dumps({"imports": imports, "opening": opened - start, "first_row": done - opened}))


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def table(measured: list[dict[str, Any]], opening: dict[str, Any]) -> str:
    """Markdown: ratios to memory with quartiles; milliseconds of imports, and of opening with the first row."""
    names = [RAM, RAM_DEFAULT, *(contender.name for contender in CONTENDERS)]
    heads = [f"{m['workload']['name']} ({m['workload']['n_items']:,} items)" for m in measured]
    lines = [f"| | {' | '.join(heads)} | imports (ms) | first row (ms) |", "|---|" + "---|" * (len(measured) + 2)]
    for name in names:
        cells = []
        for one in measured:
            if name in one["absent"]:
                cells.append(one["absent"][name])
                continue
            found = one["results"][name]
            ratio, speed = found["ratio_to_memory"], found["items_per_second"]
            spread = f"{ratio['median']:.3g} ({ratio['q1']:.3g}-{ratio['q3']:.3g})"
            cells.append(f"1, {speed:,.0f} items/s" if name == RAM else spread)
        times = {key: 1e3 * found["median"] for key, found in opening.get(name, {}).items()}
        cells += [f"{times['imports']:.0f}", f"{times['opening'] + times['first_row']:.1f}"] if times else ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for one in measured:
        ratios = {name: found["ratio_to_memory"]["median"] for name, found in one["results"].items()}
        best = max((name for name in ratios if name not in PLAIN), key=ratios.__getitem__, default=None)
        if best is not None and "reelstore" in ratios:
            factor = ratios["reelstore"] / ratios[best]
            lines.append(f"\n{one['workload']['name']}: {factor:.1f} times the best other store format ({best}).")
    return "\n".join(lines)


def about() -> dict[str, Any]:
    """Versions, machine, command."""
    packages = (
        "numpy", "zarr", "zarrs", "tensorstore", "h5py", "pyarrow", "datasets", "pylance", "litdata", "safetensors",
    )  # fmt: skip
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "versions": versions,
        "machine": {
            "system": platform.system(), "release": platform.release(), "cpu": cpu[0].partition(": ")[2] if cpu else "",
            "n_cpus": os.cpu_count(), "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "load_average": os.getloadavg(),
        },
        "command": ["python", "benchmarks/reading.py", *sys.argv[1:]],
    }  # fmt: skip


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def context(folder: Path | None) -> Iterator[Path]:
    """A folder for one workload's files, empty again afterwards."""
    path = Path(tempfile.mkdtemp(prefix="reading-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pooled", type=int, default=50_000, help="rows of P (default %(default)s)")
    parser.add_argument("--pooled-videos", type=int, default=10_000, help="rows of V (default %(default)s)")
    parser.add_argument("--videos", type=int, default=1_250, help="videos of T (default %(default)s)")
    parser.add_argument("--captions", type=int, default=3_000, help="captions of R (default %(default)s)")
    parser.add_argument("--workloads", default="PVTR", help="which of them (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=40, help="rounds (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a tenth of the items, 10 rounds: to see that it runs")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's); up to 5 GB at a time")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--opening", nargs=3, metavar=("NAME", "FOLDER", "WORKLOAD"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.opening:
        name, folder, workload = given.opening
        open_once(name, Path(folder), Workload(**json.loads(workload)))
        return
    share, repeats = (10, min(given.repeats, 10)) if given.small else (1, given.repeats)
    workloads = [
        Workload("P", "text", given.pooled // share, 0, 256),
        Workload("V", "video", given.pooled_videos // share, 0, 256),
        Workload("T", "video", given.videos // share, 32, 32),
        Workload("R", "text", given.captions // share, None, 64),
    ]
    workloads = [workload for workload in workloads if workload.name in given.workloads]
    if any(workload.n_items < workload.batch for workload in workloads):
        parser.error("a workload has fewer items than a batch")
    measured: list[dict[str, Any]] = []
    opening: dict[str, Any] = {}
    for workload in workloads:
        with context(given.folder) as folder:
            measured.append(measure(workload, folder, repeats=repeats, seed=given.seed))
            if not opening:
                say(f"{workload.name}: opening")
                opening = measure_opening(workload, folder, repeats=min(repeats, 7))
    if given.out:
        content = {**about(), "workloads": measured, "opening": opening}
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    print(table(measured, opening))


if __name__ == "__main__":
    main()
