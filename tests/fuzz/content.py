"""Changes to a file's content: any bytes, text, JSON, YAML, tables, arrays, tensors, pictures, and sealed manifests."""

import contextlib
import io
import json
import math
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import yaml
from PIL import Image
from safetensors.numpy import save

Change = Callable[[random.Random, Path], None]
"""Changes a file in place; what it does depends on the numbers drawn alone."""

PIECE = 64
SPARSE_BYTES = (300 * 2**20, 3 * 2**30)


# Any bytes.


def _bytes(change: Callable[[random.Random, bytearray], bytes | bytearray]) -> Change:
    def changed(rng: random.Random, path: Path) -> None:
        path.write_bytes(bytes(change(rng, bytearray(path.read_bytes()))))

    return changed


def _flip(rng: random.Random, content: bytearray) -> bytearray:
    for _ in range(rng.choice([1, 1, 3, 20])):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def _flip_early(rng: random.Random, content: bytearray) -> bytearray:
    """Where headers are."""
    for _ in range(rng.choice([1, 3])):
        if content:
            content[rng.randrange(min(len(content), 200))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return content


def _insert(rng: random.Random, content: bytearray) -> bytearray:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice([1, 2, 16, 5000])) + content[at:]


def _remove(rng: random.Random, content: bytearray) -> bytearray:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice([1, 2, 16, 500]) :]


def _repeat(rng: random.Random, content: bytearray) -> bytearray:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at : at + PIECE] * rng.choice([2, 100]) + content[at:]


def _zeros(rng: random.Random, content: bytearray) -> bytearray:
    at = rng.randrange(len(content) + 1)
    n_bytes = min(rng.choice([8, 512, 4096]), len(content) - at)
    return content[:at] + bytes(n_bytes) + content[at + n_bytes :]


def _sparse(rng: random.Random, path: Path) -> None:
    """Gigabytes that take no room on the disk: what reads them whole is found."""
    os.truncate(path, rng.choice(SPARSE_BYTES))


BYTES: dict[str, Change] = {
    "empty": _bytes(lambda rng, content: b""),
    "truncated": _bytes(lambda rng, content: content[: rng.randrange(len(content) + 1)]),
    "one byte short": _bytes(lambda rng, content: content[:-1]),
    "flipped": _bytes(_flip),
    "flipped early": _bytes(_flip_early),
    "inserted": _bytes(_insert),
    "removed": _bytes(_remove),
    "repeated": _bytes(_repeat),
    "zeroed": _bytes(_zeros),
    "twice": _bytes(lambda rng, content: content * 2),
    "random": _bytes(lambda rng, content: rng.randbytes(rng.choice([1, 100, 10_000]))),
    "sparse": _sparse,
}

# Text.

WEIRD_TEXTS = [
    "",
    " ",
    "\0",
    "\x1b[2J\x1b]0;owned\x07",
    "../../precious/keep.txt",
    "/etc/passwd",
    "..",
    ".",
    "~",
    "-1",
    "--help",
    "é",
    "\u202egnp.exe",
    "a" * 100_000,
    "a/b",
    "a\\b",
    "a\nb",
    "NaN",
    "1e999",
    "<script>alert(1)</script>",
    "${HOME}; touch PWNED",
    "$(touch PWNED)",
    "__proto__",
    "__class__",
    "9" * 5000,
    "\ud800",
    "😀",
    "true",
    "null",
    "x" * 255 + "y",
]
WEIRD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    -(10**12),
    1.5,
    1e308,
    -0.0,
    math.nan,
    math.inf,
    [],
    {},
    [[]],
    [None],
    [1, 2, 3],
    {"a": 1},
    {"": None},
    *WEIRD_TEXTS,
]


def _text(change: Callable[[random.Random, str], str], encoding: str = "utf-8") -> Change:
    def changed(rng: random.Random, path: Path) -> None:
        text = change(rng, path.read_bytes().decode("utf-8", "replace"))
        path.write_bytes(text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace"))

    return changed


def _inserted(rng: random.Random, text: str, piece: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + piece + text[at:]


def _lines(change: Callable[[random.Random, list[str]], list[str]]) -> Change:
    return _text(lambda rng, text: "".join(change(rng, text.splitlines(keepends=True))))


def _with_line(rng: random.Random, lines: list[str], line: str) -> list[str]:
    at = rng.randrange(len(lines) + 1)
    return [*lines[:at], line, *lines[at:]]


def _without_line(rng: random.Random, lines: list[str]) -> list[str]:
    at = rng.randrange(max(1, len(lines)))
    return lines[:at] + lines[at + 1 :]


def _shuffled(rng: random.Random, lines: list[str]) -> list[str]:
    rng.shuffle(lines)
    return lines


def _word(rng: random.Random, text: str) -> str:
    """One word becomes another value."""
    words = [piece for piece in text.replace(",", " ").replace('"', " ").split() if len(piece) > 1] or [text]
    return text.replace(rng.choice(words), rng.choice(WEIRD_TEXTS), rng.choice([1, -1]))


TEXTS: dict[str, Change] = {
    "UTF-16": _text(lambda rng, text: text, "utf-16"),
    "latin-1": _text(lambda rng, text: text.replace("a", "ä"), "latin-1"),
    "a mark in front": _text(lambda rng, text: "\ufeff" + text),
    "CRLF": _text(lambda rng, text: text.replace("\n", "\r\n")),
    "CR": _text(lambda rng, text: text.replace("\n", "\r")),
    "a NUL": _text(lambda rng, text: _inserted(rng, text, "\0")),
    "half a surrogate pair": _text(lambda rng, text: text.replace("a", "\udc80", 1)),
    "a long line": _lines(lambda rng, lines: _with_line(rng, lines, "x" * rng.choice([2**17, 2**24]) + "\n")),
    "an empty line": _lines(lambda rng, lines: _with_line(rng, lines, "\n")),
    "a line twice": _lines(lambda rng, lines: _with_line(rng, lines, rng.choice(lines or [""]))),
    "a line gone": _lines(_without_line),
    "shuffled": _lines(_shuffled),
    "another word": _text(_word),
    "spaces": _text(lambda rng, text: text.replace(" ", "\t").replace(",", " , ")),
    "only blanks": _text(lambda rng, text: " \n\t\n"),
}

# JSON and YAML.


def mutated(rng: random.Random, value: Any) -> Any:
    """A value with one of its nodes changed."""
    places = list(_places(value, ()))
    path = rng.choice(places)
    kind = rng.choice(["swap", "swap", "swap", "remove", "copy", "rename", "nest", "wrap", "many"])
    if not path:
        return rng.choice(WEIRD_VALUES) if kind == "swap" else [value] if kind == "wrap" else _nested(value)
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    last = path[-1]
    if kind == "remove":
        del parent[last]
    elif kind == "copy":
        parent[last] = json.loads(json.dumps(parent[rng.choice(list(_keys(parent)))]))
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice(WEIRD_TEXTS)] = parent.pop(last)
    elif kind == "nest":
        parent[last] = _nested(parent[last])
    elif kind == "wrap":
        parent[last] = [parent[last]]
    elif kind == "many":
        parent[last] = [parent[last]] * 10_000
    elif isinstance(parent[last], int | float) and rng.random() < 0.5:
        parent[last] = rng.choice([-parent[last], parent[last] + 1, 0, parent[last] * 10**6, float(parent[last]) + 0.5])
    else:
        parent[last] = rng.choice(WEIRD_VALUES)
    return value


def _places(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    found = [path]
    for key in _keys(value):
        found += _places(value[key], (*path, key))
    return found


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []


class _Nested:
    """A value within thousands of lists, for `_dumped`: `json` itself can't write it."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _nested(value: Any) -> Any:
    return _Nested(value)


def dumped(value: Any) -> bytes:
    """JSON with what isn't JSON: NaN, halves of surrogate pairs, lists nested 100,000 deep."""
    deep: list[Any] = []

    def other(nested: _Nested) -> str:
        deep.append(nested.value)
        return f"@deep{len(deep) - 1}@"

    text = json.dumps(value, default=other)
    for number, inner in enumerate(deep):
        depth = 100_000 if number == 0 else 1
        text = text.replace(f'"@deep{number}@"', "[" * depth + json.dumps(inner, default=str) + "]" * depth)
    return text.encode()


def _json(rng: random.Random, path: Path) -> None:
    path.write_bytes(dumped(mutated(rng, json.loads(path.read_text()))))


def _json_line(rng: random.Random, path: Path) -> None:
    lines = path.read_bytes().splitlines()
    at = rng.randrange(len(lines))
    lines[at] = dumped(mutated(rng, json.loads(lines[at])))
    path.write_bytes(b"\n".join(lines) + b"\n")


def _json_key_twice(rng: random.Random, path: Path) -> None:
    text = path.read_text()
    at = text.index("{") + 1
    path.write_text(f'{text[:at]}"{rng.choice(["version", "kind", "video_id", "x"])}": 1, {text[at:]}')


def _yaml(rng: random.Random, path: Path) -> None:
    value = mutated(rng, yaml.safe_load(path.read_text()))
    path.write_bytes(dumped(value).replace(b"Infinity", b".inf").replace(b"NaN", b".nan"))  # JSON is YAML


def _yaml_text(rng: random.Random, path: Path) -> None:
    text = path.read_text()
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    added = rng.choice(
        [
            bomb,
            "embed: {threads: 2}\n",
            "? [a, b]\n: 1\n",
            "2026-13-45: 1\n",
            "x: 2026-13-45\n",
            "1: 2\n",
            "x: &x [*x]\n",
            "<<: {a: 1}\n",
            "!!python/object/apply:os.system ['touch PWNED']\n",
            "x: !!python/object/apply:os.system ['touch PWNED']\n",
            "x: !!binary zzz\n",
            "\t- x\n",
            "--- \na: 1\n",
            "x: " + "[" * 5000 + "]" * 5000 + "\n",
            "grid: {n_shuffles: 1e12}\n",
            "devices: 99\n",
            "x: 0x" + "f" * 5000 + "\n",
            "x: 1:" + ":".join(["59"] * 2000) + "\n",
        ]
    )
    path.write_text(rng.choice([text + added, added + text, added]))


JSONS: dict[str, Change] = {
    "a node": _json,
    "another node": _json,
    "and another": _json,
    "a key twice": _json_key_twice,
}
LINES: dict[str, Change] = {"a node of a line": _json_line, "a node of another line": _json_line}
YAMLS: dict[str, Change] = {"a setting": _yaml, "another setting": _yaml, "and another": _yaml, "odd YAML": _yaml_text}

# CSV.


def _cell(rng: random.Random, path: Path) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for _ in range(rng.choice([1, 1, 5])):
        row = rng.choice(rows)
        at = rng.randrange(len(row))
        value = rng.choice(WEIRD_TEXTS).replace("\ud800", "")
        action = rng.choice(["set", "set", "add", "remove", "quote", "number"])
        if action == "add":
            row.insert(at, value)
        elif action == "remove" and len(row) > 1:
            del row[at]
        elif action == "quote":
            row[at] = f'"{row[at]}'
        elif action == "number":
            row[at] = rng.choice(["-5", "1e9", "2147483648", "99999999999999999999", "0.5", "nan", "007", " 1", "1_0"])
        else:
            row[at] = value
    path.write_text("\n".join(map(",".join, rows)) + "\n")


def _column(rng: random.Random, path: Path) -> None:
    """All of a column, or its name."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = rng.randrange(len(rows[0]))
    value = rng.choice([*WEIRD_TEXTS[:20], "split", "video_id", "caption", "path", "failure"]).replace("\n", " ")
    action = rng.choice(["name", "values", "numbered", "twice", "path"])
    for number, row in enumerate(rows):
        if action == "path":
            row.append("path" if number == 0 else rng.choice(["../precious/keep.txt", "/etc/passwd", ".", "v00.gif"]))
        elif at >= len(row):
            continue
        elif (action == "name") == (number == 0):
            row[at] = f"s{number}" if action == "numbered" else value
        elif action == "twice":
            row.append(row[at])
    path.write_text("\n".join(map(",".join, rows)) + "\n")


CSVS: dict[str, Change] = {"cells": _cell, "other cells": _cell, "a column": _column, "another column": _column}

# Arrow and Parquet.


def _odd_column(rng: random.Random, n_rows: int) -> pa.Array:
    kinds: list[Callable[[], pa.Array]] = [
        lambda: pa.array([None] * n_rows, pa.string()),
        lambda: pa.array([None] * n_rows, pa.null()),
        lambda: pa.array(list(range(n_rows)), pa.int64()),
        lambda: pa.array([2**62] * n_rows, pa.int64()),
        lambda: pa.array([b"\xff\xfe"] * n_rows, pa.binary()),
        lambda: pa.array([b"\xff\xfe" * 2] * n_rows, pa.binary()).view(pa.string()),
        lambda: pa.array([1.5] * n_rows, pa.float64()),
        lambda: pa.array([math.nan] * n_rows, pa.float32()),
        lambda: pa.array([True] * n_rows, pa.bool_()),
        lambda: pa.array([[1.0, None]] * n_rows, pa.list_(pa.float32(), 2)),
        lambda: pa.array([None, *[[0.5, 1.0]] * (n_rows - 1)][:n_rows], pa.list_(pa.float32(), 2)),
        lambda: pa.array([[]] * n_rows, pa.list_(pa.float32())),
        lambda: pa.array([[[1.0], None]] * n_rows, pa.list_(pa.list_(pa.float32()))),
        lambda: pa.array([[[[1.0]]]] * n_rows, pa.list_(pa.list_(pa.list_(pa.float32())))),
        lambda: pa.array([["a"]] * n_rows, pa.list_(pa.string())),
        lambda: pa.array([{"a": 1}] * n_rows, pa.struct([("a", pa.int8())])),
        lambda: pa.array(["x"] * n_rows).dictionary_encode(),
        lambda: pa.array([0] * n_rows, pa.timestamp("ns")),
        lambda: pa.array([rng.choice(WEIRD_TEXTS).replace("\ud800", "") for _ in range(n_rows)]),
        lambda: pa.array([0] * n_rows, pa.decimal128(5, 2)),
        lambda: pa.array([1.0] * n_rows, pa.float16()),
    ]
    return rng.choice(kinds)()


def _arrow(rng: random.Random, path: Path) -> None:
    is_parquet, is_stream = path.suffix == ".parquet", path.read_bytes().startswith(b"\xff")
    if is_stream:
        table = pa.ipc.open_stream(path.read_bytes()).read_all()
    else:
        table = (pq if is_parquet else feather).read_table(path, use_threads=False)
    at, kind = (
        rng.randrange(table.num_columns),
        rng.choice(["column", "column", "none", "drop", "rename", "add", "nulls"]),
    )
    if kind == "column":
        table = table.set_column(at, table.column_names[at], _odd_column(rng, table.num_rows))
    elif kind == "none":
        table = table.slice(0, 0)
    elif kind == "drop":
        table = table.remove_column(at)
    elif kind == "rename":
        names = list(table.column_names)
        names[at] = rng.choice([*names, "x", "", "\x1b[31m"])
        table = table.rename_columns(names)
    elif kind == "add":
        name = rng.choice(["split", "failure", "caption_index", "extra", table.column_names[0]])
        table = table.append_column(name, _odd_column(rng, table.num_rows))
    else:
        column = table.column(at).to_pylist()
        column[rng.randrange(len(column))] = None
        table = table.set_column(at, table.column_names[at], pa.array(column, table.column(at).type))
    if is_parquet:
        metadata = {b"pandas": dumped(rng.choice(WEIRD_VALUES)), **(table.schema.metadata or {})}
        pq.write_table(table.replace_schema_metadata(metadata if rng.random() < 0.3 else None), path)
    elif is_stream:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    else:
        feather.write_feather(table, path, compression=rng.choice(["uncompressed", "zstd"]))


TABLES: dict[str, Change] = {"a table": _arrow, "another table": _arrow, "and another": _arrow}

# Arrays and tensors.


def _npy_header(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    n_header = struct.unpack("<H", content[8:10])[0]
    descr = rng.choice(
        ["'<f4'", "'<f8'", "'|O'", "'<U5'", "'>f2'", "'<c8'", "[('a', '<f4')]", "'<M8[s]'", "''", "None"]
    )
    shape = rng.choice(
        ["(24, 8)", "(2**40,)", f"({10**12}, 8)", "(-1, 8)", "(0,)", "()", "(24, 8, 0)", "None", "(True,)"]
    )
    header = f"{{'descr': {descr}, 'fortran_order': {rng.choice(['False', 'True', '2'])}, 'shape': {shape}, }}"
    if rng.random() < 0.1:
        header = "(" * 900 + ")" * 900
    encoded = header.encode().ljust(n_header - 1) + b"\n"
    length = struct.pack("<H", rng.choice([len(encoded), len(encoded), 65535]))
    path.write_bytes(content[:8] + length + encoded + content[10 + n_header :])


class _Runs:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.system, ("touch PWNED",))


def _npy_value(rng: random.Random, path: Path) -> None:
    value: Any = np.load(path)
    odd: list[Callable[[], Any]] = [
        lambda: np.where(np.arange(value.size).reshape(value.shape) == 3, np.nan, value),
        lambda: np.where(np.arange(value.size).reshape(value.shape) == 3, np.inf, value),
        lambda: value.astype("f8") * 1e300,
        lambda: np.zeros_like(value),
        lambda: value[..., :0],
        lambda: value[:-1],
        lambda: np.concatenate([value, value]),
        lambda: value[None],
        lambda: value.astype("U8"),
        lambda: value.astype(bool),
        lambda: value.astype("i8"),
        lambda: -value,
        lambda: value[::-1],
        lambda: np.full_like(value, 2**62) if value.dtype.kind == "i" else value.astype("c8"),
        lambda: np.array([_Runs()], dtype=object),
        lambda: np.array(0.0),
    ]
    np.save(path, rng.choice(odd)(), allow_pickle=True)


NPYS: dict[str, Change] = {"a header": _npy_header, "another header": _npy_header, "values": _npy_value}


def _tensors(rng: random.Random, path: Path) -> None:
    """Tensors of other shapes and types, or others' names."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    tensors: dict[str, Any] = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in ("F32", "F16", "F64", "I64", "U8", "BOOL"):
            dtype = {"F32": "f4", "F16": "f2", "F64": "f8", "I64": "i8", "U8": "u1", "BOOL": "?"}[entry["dtype"]]
            start, stop = entry["data_offsets"]
            tensors[name] = np.frombuffer(content[8 + size + start : 8 + size + stop], dtype).reshape(entry["shape"])
    name = rng.choice(list(tensors))
    value = tensors[name]
    odd: list[Callable[[], Any]] = [
        lambda: value.reshape(-1)[: max(1, value.size // 2)],
        lambda: value[..., :1],
        lambda: value.reshape(-1)[:1].reshape(()),
        lambda: np.full_like(value, np.nan) if value.dtype.kind == "f" else value * 0,
        lambda: value.astype("f8"),
        lambda: value.astype("i4"),
        lambda: value.astype("f2"),
        lambda: value[None],
        lambda: value.T.copy(),
        lambda: np.zeros((0,), "f4"),
        lambda: np.concatenate([value.reshape(-1)] * 2),
        lambda: value * np.float32(1e38) if value.dtype.kind == "f" else value + 1,
    ]
    kind = rng.choice(["value", "value", "value", "drop", "rename", "add"])
    if kind == "value":
        tensors[name] = np.ascontiguousarray(rng.choice(odd)())
    elif kind == "drop":
        del tensors[name]
    elif kind == "rename":
        tensors[rng.choice(WEIRD_TEXTS).replace("\ud800", "s")[:500]] = tensors.pop(name)
    else:
        tensors["added"] = np.zeros(3, "f4")
    path.write_bytes(save(tensors, header.get("__metadata__")))


def _tensor_header(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = dumped(mutated(rng, json.loads(content[8 : 8 + size])))
    length = rng.choice([len(header), len(header), len(header), 2**63, 2**40, 0, len(header) - 1])
    path.write_bytes(struct.pack("<Q", length) + header + content[8 + size :])


TENSORS: dict[str, Change] = {
    "tensors": _tensors,
    "other tensors": _tensors,
    "and others": _tensors,
    "a header": _tensor_header,
}


def _hdf5(rng: random.Random, path: Path) -> None:
    with h5py.File(path, "a") as file:
        name = rng.choice(list(file))
        if isinstance(file[name], h5py.Group):
            name = f"{name}/{rng.choice(list(file[name]))}"
        value = file[name][()]
        del file[name]
        kind = rng.choice(
            ["soft", "external", "loop", "text", "huge", "group", "compound", "empty", "shape", "nan", "raw"]
        )
        if kind == "soft":
            file[name] = h5py.SoftLink("/nowhere")
        elif kind == "external":
            file[name] = h5py.ExternalLink("../precious/keep.txt", "/")
        elif kind == "loop":
            file[name] = h5py.SoftLink(f"/{name}")
        elif kind == "text":
            file[name] = ["a", "b"]
        elif kind == "huge":
            file.create_dataset(name, shape=(2**33, 8), dtype="f4", chunks=(1024, 8))
        elif kind == "group":
            file.create_group(name)["1"] = value
        elif kind == "compound":
            file[name] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        elif kind == "empty":
            file[name] = h5py.Empty("f4")
        elif kind == "nan":
            file[name] = np.full_like(value, np.nan)
        elif kind == "raw":
            outside = [("../precious/keep.txt", 0, 32)]
            file.create_dataset(name, shape=(8,), dtype="f4", external=outside)
        else:
            file[name] = value[:3]


HDF5S: dict[str, Change] = {"an entry": _hdf5, "another entry": _hdf5, "and another": _hdf5}


def _archive(rng: random.Random, path: Path) -> None:
    """A checkpoint of torch's: a member changed, or a pickle that runs a command."""
    source = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    members = {info.filename: source.read(info) for info in source.infolist()}
    name = rng.choice(list(members))
    kind = rng.choice(["pickle", "flip", "drop", "empty", "bomb", "up"])
    if kind == "pickle":
        import pickle

        name = next(member for member in members if member.endswith("data.pkl"))
        members[name] = pickle.dumps(_Runs(), protocol=2)
    elif kind == "flip":
        members[name] = bytes(_flip(rng, bytearray(members[name])))
    elif kind == "drop":
        del members[name]
    elif kind == "empty":
        members[name] = b""
    elif kind == "bomb":
        members["archive/data/999"] = bytes(2**26)
    else:
        members["../../precious/keep.txt"] = b"owned"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


ARCHIVES: dict[str, Change] = {"a member": _archive, "another member": _archive, "and another": _archive}

# Pictures and clips, whatever their name says.


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * min(width, 64))))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*one) for one in chunks) + pixels + chunk(b"IEND", b"")


def _plain_gif(width: int, height: int, n_frames: int) -> bytes:
    """Frames of one pixel on a large canvas."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    table = bytes(6)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + table + frame * n_frames + b"\x3b"


def _saved(mode: str, size: tuple[int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


CLIPS_OF: dict[str, Callable[[random.Random], bytes]] = {
    "a large PNG": lambda rng: _saved("1", (rng.choice([9000, 13_000]),) * 2, "PNG"),
    "a PNG that says it is large": lambda rng: _png(rng.choice([2**31 - 1, 60_000]), 60_000),
    "an APNG of many frames": lambda rng: _png(4, 4, (b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "a GIF of many frames": lambda rng: _plain_gif(4, 4, 200_000),
    "a large GIF": lambda rng: _plain_gif(9000, 9000, rng.choice([1, 500])),
    "raw video": lambda rng: b"YUV4MPEG2 W4 H4 F25:1 C420\n" + (b"FRAME\n" + bytes(24)) * 300_000,
    "raw video without size": lambda rng: b"YUV4MPEG2 W0 H0 F25:0\nFRAME\n",
    "large raw video": lambda rng: b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n" + bytes(100),
    "a list of other files": lambda rng: b"ffconcat version 1.0\nfile '../precious/keep.txt'\n",
    "a playlist": lambda rng: b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    "a text": lambda rng: b"not a clip at all\n",
    "an SVG": lambda rng: b'<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>',
    "an archive": lambda rng: b"PK\x05\x06" + bytes(18),
    "a TIFF": lambda rng: _saved("I;16", (40, 32), "TIFF"),
    "a BMP": lambda rng: _saved("RGB", (1, 1), "BMP"),
    "an EPS": lambda rng: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch PWNED) system\n",
}


def _clip(make: Callable[[random.Random], bytes]) -> Change:
    return lambda rng, path: (path.write_bytes(make(rng)), None)[1]


CLIPS: dict[str, Change] = {name: _clip(make) for name, make in CLIPS_OF.items()}

# Manifests of a store, sealed again.


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Give a variant digests of its files as they are, changed attributes, and the checksum of those."""
    from reelstore.store.format import manifest_bytes, variant_digest

    manifest = folder / "zarr.json"
    ours = json.loads(manifest.read_text())["attributes"]["reelstore"]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest]
    ours["digests"] = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
    ours["digest"] = variant_digest(ours["digests"])
    change(ours)
    ours.pop("checksum", None)
    manifest.write_bytes(manifest_bytes(ours))


def _lie(rng: random.Random, path: Path) -> None:
    """One attribute of a manifest changed."""

    def change(ours: dict[str, Any]) -> None:
        if rng.random() < 0.2:
            names = [
                "values/../../../../precious/keep.txt",
                "../x",
                "/etc/passwd",
                "values/c/9/9",
                "x/c/0",
                "values/c/00/0",
            ]
            ours["digests"][rng.choice(names)] = "0" * 64
        elif rng.random() < 0.2:
            del ours["digests"][rng.choice(list(ours["digests"]))]
        else:
            while True:  # what JSON can't hold is tried unsealed
                small = {key: value for key, value in ours.items() if key not in ("digests", "digest")}
                changed = mutated(rng, json.loads(json.dumps(small)))
                try:
                    json.dumps(changed, allow_nan=False).encode()
                except (TypeError, ValueError):
                    continue
                if isinstance(changed, dict):
                    break
            for key in small:
                del ours[key]
            ours.update(changed)
        if rng.random() < 0.5:
            from reelstore.store.format import variant_digest

            with contextlib.suppress(AttributeError, TypeError, UnicodeError):
                ours["digest"] = variant_digest(ours["digests"])

    reseal(path.parent, change)


def _lie_of_an_array(rng: random.Random, path: Path) -> None:
    """The metadata of one array changed, or bytes of one chunk, and all sealed again."""
    arrays = sorted(path.parent.glob("*/zarr.json"))
    chunks = sorted(one for one in path.parent.glob("*/c/**/*") if one.is_file())
    if rng.random() < 0.5:
        array = rng.choice(arrays)
        array.write_bytes(dumped(mutated(rng, json.loads(array.read_text()))))
    else:
        chunk = rng.choice(chunks)
        BYTES[rng.choice([name for name in BYTES if name not in ("sparse",)])](rng, chunk)
    reseal(path.parent, lambda ours: None)


def _chunk_gone(rng: random.Random, path: Path) -> None:
    rng.choice(sorted(one for one in path.parent.glob("*/c/**/*") if one.is_file())).unlink()
    reseal(path.parent, lambda ours: None)


SEALED: dict[str, Change] = {
    "a sealed lie": _lie,
    "another sealed lie": _lie,
    "and another": _lie,
    "and one more": _lie,
    "a sealed array": _lie_of_an_array,
    "another sealed array": _lie_of_an_array,
    "a sealed gap": _chunk_gone,
}


def changes_of(path: Path) -> dict[str, Change]:
    """What can be done to a file, by its name."""
    suffix = path.suffix.lower()
    of_kind: dict[str, Change] = {}
    if path.name == "zarr.json":
        of_kind = JSONS | (SEALED if _is_variant(path) else {})
    elif suffix in (".json", ".jsonl"):
        of_kind = JSONS if suffix == ".json" else LINES | TEXTS
    elif suffix in (".yaml", ".yml"):
        of_kind = YAMLS | YAMLS | TEXTS
    elif suffix in (".csv", ".tsv"):
        of_kind = CSVS | TEXTS
    elif suffix in (".parquet", ".arrow"):
        of_kind = TABLES
    elif suffix == ".npy":
        of_kind = NPYS
    elif suffix == ".safetensors":
        of_kind = TENSORS
    elif suffix == ".h5":
        of_kind = HDF5S
    elif suffix == ".ckpt":
        of_kind = ARCHIVES
    elif suffix == ".gif":
        of_kind = CLIPS
    if suffix == ".json":
        of_kind = of_kind | {name: TEXTS[name] for name in ("UTF-16", "a mark in front", "a NUL", "another word")}
    elif suffix in (".svg", ".txt"):
        of_kind = TEXTS
    return {f"{name} ({suffix[1:] or 'bytes'})": change for name, change in of_kind.items()} | BYTES


def _is_variant(path: Path) -> bool:
    try:
        return "reelstore" in json.loads(path.read_text()).get("attributes", {})
    except (OSError, ValueError, AttributeError):
        return False
