"""Writes the golden store of the present schema version: PYTHONPATH=src python tests/golden/make_store.py

It holds every layout, a failed row, an item without tokens, and names beyond ASCII. Made once for each schema version,
it stays in tests/golden/store-v<version> for good: later code must read it. `expected` says what is in it.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.store.format import SCHEMA_VERSION, VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

GOLDEN = Path(__file__).parent / f"store-v{SCHEMA_VERSION}"
VIDEOS = [f"vidéo {number}" for number in range(70)]
CAPTIONS = [(video, index) for video in VIDEOS for index in range(1 + len(video) % 3)]
FAILED = {"vidéo 3": "no frames", ("vidéo 5", 1): "no words"}
SPECS = [
    VariantSpec("video", "golden", "tokens", 256, 3, "float16", {"encoder": "none"}),
    VariantSpec("video", "golden", "mean", 4, 0, "float32", {"encoder": "none"}),
    VariantSpec("text", "golden", "tokens", 64, None, "float16", {"encoder": "none"}),
    VariantSpec("text", "golden", "mean", 5, 0, "float16", {"encoder": "none"}),
]


def keys_of(spec: VariantSpec) -> list[Any]:
    """Keys in order."""
    return list(VIDEOS if spec.side == "video" else CAPTIONS)


def expected(spec: VariantSpec) -> Iterator[tuple[Any, np.ndarray | str]]:
    """Each key with its value, or with the reason there is none."""
    for number, key in enumerate(keys_of(spec)):
        shape = (number % 4, spec.dim) if spec.layout == "ragged" else spec.row_shape
        values = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) / 8 + number
        yield key, FAILED.get(key, values.astype(spec.dtype))


def main() -> None:
    """Write every variant."""
    for spec in SPECS:
        keys = keys_of(spec)
        contents = [sha256(repr(key).encode()).hexdigest() for key in keys]
        splits = ["train" if number % 3 else "test" for number in range(len(keys))]
        table = RowTable(keys, splits, row_fingerprints(spec.fingerprint, contents))
        update = VariantUpdate(GOLDEN / spec.side / spec.encoder / spec.variant, spec, table)
        for row, (_, value) in enumerate(expected(spec)):
            if isinstance(value, str):
                update.fail(row, value)
            else:
                update.put(row, value)
        update.finish()


if __name__ == "__main__":
    main()
