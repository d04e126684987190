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
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate
from reelstore.store.write import row_fingerprints

N_FRAMES = 8
TOKENS = (5, 16)
BLOCK_ROWS = 512
FILES_DIM = 4096
"""Width at which files are counted, beside the one that is written: the widest that is usual."""


def specs(dim: int) -> list[VariantSpec]:
    """Every variant of both sides."""
    of_video = [("tokens", N_FRAMES), *((name, 0) for name in ("first", "last", "max", "mean", "sum"))]
    made: list[VariantSpec] = []
    for side in ("video", "text"):
        for name, n_tokens in of_video:
            count = None if side == "text" and name == "tokens" else n_tokens
            made.append(VariantSpec(side, "drawn", name, dim, count, "float16", {"variant": name}))  # type: ignore[arg-type]
    return made


def keys_of(side: str, n_videos: int, n_captions: int) -> list[Any]:
    """Keys of a side: as many captions for each video."""
    videos = [f"video{number}" for number in range(n_videos)]
    per_video = n_captions // n_videos
    return videos if side == "video" else [(video, index) for video in videos for index in range(per_video)]


def n_tokens_of(key: Any) -> int:
    """Tokens of a caption, a function of its key."""
    return TOKENS[0] + sha256(repr(key).encode()).digest()[0] % (TOKENS[1] - TOKENS[0])


def write(folder: Path, spec: VariantSpec, keys: Sequence[Any]) -> UpdateReport:
    """Bring a variant to these rows; values are drawn by blocks, and follow the row's place when it is made."""
    contents = [sha256(repr(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, ["train"] * len(keys), row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(folder, spec, table)
    rng = np.random.default_rng(0)
    for start in range(0, len(update.todo), BLOCK_ROWS):
        rows = update.todo[start : start + BLOCK_ROWS]
        counts = np.array([n_tokens_of(keys[row]) for row in rows]) if spec.layout == "ragged" else None
        shape = (int(counts.sum()), spec.dim) if counts is not None else (len(rows), *spec.row_shape)
        update.put_rows(rows, rng.standard_normal(shape, dtype=np.float32).astype(np.float16), counts)
    return update.finish()


def value_bytes(spec: VariantSpec, keys: Sequence[Any]) -> int:
    """Bytes of the values of these rows, and nothing else."""
    return spec.row_bytes * (sum(map(n_tokens_of, keys)) if spec.layout == "ragged" else len(keys))


def n_files(spec: VariantSpec, keys: Sequence[Any]) -> int:
    """Files of a variant, from its layout."""
    id_bytes = sum(len((key if isinstance(key, str) else key[0]).encode()) for key in keys)
    lengths = {"video_id": id_bytes, "video_id_offsets": len(keys) + 1, "offsets": len(keys) + 1}
    lengths["values"] = value_bytes(spec, keys) // spec.row_bytes
    arrays = [spec.values_array(), *spec.table_arrays()]
    return 1 + sum(1 + -(-lengths.get(array.name, len(keys)) // array.file_rows) for array in arrays)


def measure(dim: int, n_videos: int, n_captions: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One variant after the other, so that the disk holds one at a time."""
    for spec in specs(dim):
        project = folder / f"{spec.side}-{spec.variant}"
        project.mkdir()
        dvc(project, "git", "init", "-q")
        dvc(project, "dvc", "init", "-q")
        dvc(project, "dvc", "remote", "add", "-q", "-d", "here", str(project / "remote"))
        (project / ".dvcignore").write_text("**/*.partial\n")
        n_rows = n_videos if spec.side == "video" else n_captions
        keys = keys_of(spec.side, n_videos + n_videos // 100, n_captions + n_captions // 100)
        variant = project / "store" / "drawn" / spec.side / "drawn" / spec.variant
        write(variant, spec, keys[:n_rows])
        before = pushed(project, variant)
        times = {path: path.stat().st_mtime_ns for path in variant.rglob("*")}
        again = write(variant, spec, keys[:n_rows])
        rewritten = again.n_bytes_written or times != {path: path.stat().st_mtime_ns for path in variant.rglob("*")}
        grown = write(variant, spec, keys)
        after = pushed(project, variant)
        appended = value_bytes(spec, keys[n_rows:])
        counted = sum(1 for path in variant.rglob("*") if path.is_file())
        assert counted == n_files(spec, keys), "the count from the layout is that of the files"
        middle = n_rows // 2
        removed = write(variant, spec, [*keys[:middle], *keys[middle + n_rows // 100 :]])
        inserted = write(variant, spec, keys)
        wide = VariantSpec(spec.side, spec.encoder, spec.variant, FILES_DIM, spec.n_tokens, spec.dtype, spec.recipe)
        yield {
            "variant": f"{spec.side}/{spec.variant}",
            "rows": n_rows,
            "new_rows": grown.n_new,
            "appended_bytes": appended,
            "pushed_bytes": after[0] - before[0],
            "pushed_files": after[1] - before[1],
            "ratio": (after[0] - before[0]) / appended,
            "files": counted,
            "files_at_4096": n_files(wide, keys),
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
