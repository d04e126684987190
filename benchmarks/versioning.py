"""What a new version of a store costs: bytes that DVC pushes after 1 % more rows, files, rows made for nothing.

    python benchmarks/versioning.py --small
    python benchmarks/versioning.py --dim 512 --out versioning.json

Tokens and the five poolings of 10,000 videos (8 frames) and 200,000 captions (5 to 15 tokens), float16, drawn. Each
variant is a DVC output with a remote in a folder; what a push moves is what the remote grows by. Appended bytes are the
values of the new rows alone, so a ratio has ids, statuses, digests and DVC's own lists in it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import reelstore
from reelstore.store.chunks import layouts
from reelstore.store.format import SCHEMA_VERSION, VariantSpec
from reelstore.store.open import Store
from reelstore.store.update import UpdateReport

N_FRAMES = 8
TOKENS = (5, 16)
BLOCK_ROWS = 512
FILES_DIM = 4096
"""Width at which files are counted, beside the one that is written: the widest that is usual."""


VARIANTS = {
    f"{side}/drawn/{name}": 0 if name != "tokens" else N_FRAMES if side == "video" else None
    for side in ("video", "text")
    for name in ("tokens", "first", "last", "max", "mean", "sum")
}
"""Every variant of both sides -> tokens of a row: 0 pooled, None where they vary."""


def keys_of(side: str, n_videos: int, n_captions: int) -> list[Any]:
    """Keys of a side: as many captions for each video."""
    videos = [f"video{number}" for number in range(n_videos)]
    per_video = n_captions // n_videos
    return videos if side == "video" else [(video, index) for video in videos for index in range(per_video)]


def n_tokens_of(key: Any) -> int:
    """Tokens of a caption, a function of its key."""
    return TOKENS[0] + sha256(repr(key).encode()).digest()[0] % (TOKENS[1] - TOKENS[0])


def drawn(keys: Sequence[Any], n_tokens: int | None, dim: int) -> Iterator[Any]:
    """Values of these rows in blocks, float16; each is a function of its key."""
    for start in range(0, len(keys), BLOCK_ROWS):
        block = []
        for key in keys[start : start + BLOCK_ROWS]:
            rng = np.random.default_rng(int.from_bytes(sha256(repr(key).encode()).digest()[:8], "little"))
            shape = (dim,) if n_tokens == 0 else (n_tokens or n_tokens_of(key), dim)
            block.append(rng.standard_normal(shape, dtype=np.float32).astype(np.float16))
        yield block if n_tokens is None else np.stack(block)


def write_rows(store: Store, name: str, n_tokens: int | None, dim: int, keys: Sequence[Any]) -> UpdateReport:
    """Bring a variant to these rows."""
    return store.write(name, keys, drawn(keys, n_tokens, dim), mode="replace")


def value_bytes(spec: VariantSpec, keys: Sequence[Any]) -> int:
    """Bytes of the values of these rows, and nothing else."""
    return spec.row_bytes * (sum(map(n_tokens_of, keys)) if spec.layout == "ragged" else len(keys))


def n_files(spec: VariantSpec, keys: Sequence[Any]) -> int:
    """Files of a variant, from its layout."""
    id_bytes = sum(len((key if isinstance(key, str) else key[0]).encode()) for key in keys)
    n_value_rows = value_bytes(spec, keys) // spec.row_bytes
    arrays = layouts(spec, len(keys), n_value_rows, id_bytes, SCHEMA_VERSION).values()
    return 1 + sum(1 + -(-(array.n_rows or 0) // array.file_rows) for array in arrays)


def measure(dim: int, n_videos: int, n_captions: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One variant after the other, so that the disk holds one at a time."""
    for name, n_tokens in VARIANTS.items():
        side = name.partition("/")[0]
        project = folder / name.replace("/", "-")
        project.mkdir()
        dvc(project, "git", "init", "-q")
        dvc(project, "dvc", "init", "-q")
        dvc(project, "dvc", "remote", "add", "-q", "-d", "here", str(project / "remote"))
        (project / ".dvcignore").write_text("**/*.partial\n")
        n_rows = n_videos if side == "video" else n_captions
        keys = keys_of(side, n_videos + n_videos // 100, n_captions + n_captions // 100)
        store = reelstore.open(project / "store" / "drawn", create=True)
        variant = store.path / name
        write = partial(write_rows, store, name, n_tokens, dim)
        write(keys[:n_rows])
        spec = store[name].spec
        before = pushed(project, variant)
        times = {path: path.stat().st_mtime_ns for path in variant.rglob("*")}
        again = write(keys[:n_rows])
        rewritten = again.n_bytes_written or times != {path: path.stat().st_mtime_ns for path in variant.rglob("*")}
        grown = write(keys)
        after = pushed(project, variant)
        appended = value_bytes(spec, keys[n_rows:])
        counted = sum(1 for path in variant.rglob("*") if path.is_file())
        assert counted == n_files(spec, keys), "the count from the layout is that of the files"
        middle = n_rows // 2
        removed = write([*keys[:middle], *keys[middle + n_rows // 100 :]])
        inserted = write(keys)
        yield {
            "variant": f"{side}/{spec.variant}",
            "rows": n_rows,
            "new_rows": grown.n_new,
            "appended_bytes": appended,
            "pushed_bytes": after[0] - before[0],
            "pushed_files": after[1] - before[1],
            "ratio": (after[0] - before[0]) / appended,
            "files": counted,
            "files_at_4096": n_files(replace(spec, dim=FILES_DIM), keys),
            "unchanged_rewritten": bool(rewritten),
            "made_after_removal": removed.n_new,
            "made_after_insertion_beyond_it": inserted.n_new - (len(keys) - removed.n_rows),
        }
        shutil.rmtree(project)


def pushed(project: Path, variant: Path) -> tuple[int, int]:
    """Put the variant under DVC, push it, and say how many bytes and files the remote holds then."""
    dvc(project, "dvc", "add", "-q", str(variant.relative_to(project)))
    dvc(project, "dvc", "push", "-q")
    files = [path.stat().st_size for path in (project / "remote").rglob("*") if path.is_file()]
    return sum(files), len(files)


def dvc(project: Path, *command: str) -> None:
    """Run a command in the project."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=project, env=env, check=True)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512, help="width of an embedding")
    parser.add_argument("--videos", type=int, default=10_000, help="videos before growing")
    parser.add_argument("--captions", type=int, default=200_000, help="captions before growing")
    parser.add_argument("--small", action="store_true", help="a tenth of both: a quick run, whose ratios are larger")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    share = 10 if options.small else 1
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = []
        for line in measure(options.dim, options.videos // share, options.captions // share, Path(folder)):
            found.append(line)
            print(
                f"| {line['variant']} | {line['appended_bytes'] / 1e6:.2f} | {line['pushed_bytes'] / 1e6:.2f} | "
                f"{line['ratio']:.2f} | {line['pushed_files']} | {line['files']} | {line['files_at_4096']} | "
                f"{line['unchanged_rewritten']} | {line['made_after_removal']} | "
                f"{line['made_after_insertion_beyond_it']} |",
                flush=True,
            )
    print(f"files in all: {sum(f['files'] for f in found)}, at 4096 {sum(f['files_at_4096'] for f in found)}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
