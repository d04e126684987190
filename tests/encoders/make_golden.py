"""Writes the golden output of an encoder: PYTHONPATH=src:tests/encoders python tests/encoders/make_golden.py side/name

A golden file is made once for each version of an encoder. Where its output changes, raise the encoder's VERSION first.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from inputs import item, options

from reelstore.encoders.registry import load_encoder

GOLDEN = Path(__file__).parent / "golden"
N_ITEMS = {"video": 1, "text": 4}


def main(key: str) -> None:
    """Write golden/<side>/<name>.npz (outputs of each item, float16) and .json (what they belong to)."""
    side, _, name = key.partition("/")
    encoder: Any = load_encoder(side, name, options=options(key), device="cpu", threads=1)  # type: ignore[arg-type]
    folder = GOLDEN / side
    folder.mkdir(parents=True, exist_ok=True)
    n_frames = getattr(encoder, "frames", {}).get("n_frames") or 8
    tokens = {
        f"item_{number}.{output}": values.astype(np.float16)
        for number in range(N_ITEMS[side])
        for output, values in encoder.encode([encoder.prepare(item(side, number, n_frames=n_frames))])[0].items()
    }
    np.savez_compressed(folder / f"{name}.npz", **tokens)  # type: ignore[arg-type]
    belongs = {"version": encoder.spec.version, "weights_sha256": encoder.spec.weights_sha256}
    (folder / f"{name}.json").write_text(json.dumps(belongs, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
