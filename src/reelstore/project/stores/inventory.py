"""List what a store holds: one line for each variant, or one variant in full."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reelstore.errors import ReelstoreError, StoreNotFoundError
from reelstore.io import readable_bytes
from reelstore.store.files import everything_in
from reelstore.store.format import FAILED, OK
from reelstore.store.groups import variant_folders
from reelstore.store.open import open_variant
from reelstore.store.read import Rows


@dataclass(frozen=True)
class VariantLine:
    """One variant: where, how many rows with values, and how large."""

    path: Path
    n_rows: int
    n_ok: int
    n_failed: int
    shape: str
    dtype: str
    n_bytes: int
    digest: str

    @property
    def coverage(self) -> float:
        """Share of the rows that have values."""
        return self.n_ok / self.n_rows if self.n_rows else 1.0


@dataclass(frozen=True)
class Inventory:
    """All variants below a folder, and what is wrong with those that can't be read."""

    variants: tuple[VariantLine, ...]
    damaged: Mapping[Path, str] = field(default_factory=dict)

    def summary(self) -> str:
        """A table for people."""
        rows = [("variant", "rows", "shape", "dtype", "bytes", "coverage", "failed", "digest")]
        rows += [
            (
                str(v.path),
                str(v.n_rows),
                v.shape,
                v.dtype,
                readable_bytes(v.n_bytes),
                f"{v.coverage:.1%}",
                str(v.n_failed),
                v.digest[:12],
            )
            for v in self.variants
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"{path}  damaged: {what}" for path, what in self.damaged.items())])


def inventory(path: Path) -> Inventory:
    """Every variant below `path`: of all datasets, one, one side, one encoder, or itself."""
    if not path.is_dir():
        raise StoreNotFoundError(f"No store at {path}. Write or import one; in a project: dvc repro, or dvc pull.")
    folders = variant_folders(path)
    if not folders:
        raise StoreNotFoundError(
            f"{path} holds no embeddings yet. Write or import them; in a project: dvc repro, or dvc pull."
        )
    lines, damaged = [], {}
    for folder in folders:
        try:
            lines.append(_line(folder))
        except (ReelstoreError, OSError) as error:
            damaged[folder] = str(error)
    return Inventory(tuple(lines), damaged)


def describe(path: Path) -> str:
    """One variant in full; for a folder above variants, its inventory."""
    if variant_folders(path) != [path]:
        return inventory(path).summary()
    rows = open_variant(path)
    line = _line(path)
    splits, counts = np.unique(np.array(rows.splits), return_counts=True)
    facts = {
        "variant": f"{rows.side}/{rows.encoder}/{rows.variant}",
        "rows": f"{line.n_rows}: {line.n_ok} ok, {line.n_failed} failed",
        "shape": line.shape,
        "dtype": line.dtype,
        "bytes": readable_bytes(line.n_bytes),
        "files": str(len(rows.file_digests) + 1),
        "splits": ", ".join(f"{split} {count}" for split, count in zip(splits, counts, strict=True)),
        "digest": rows.digest,
        "fingerprint": rows.fingerprint,
        "recipe": json.dumps(rows.recipe, indent=2, ensure_ascii=False),
    }
    text = "\n".join(f"{name:<12} {value}" for name, value in facts.items())
    return text + "".join(f"\nfailed       {key}: {reason}" for key, reason in rows.failures.items())


def _line(folder: Path) -> VariantLine:
    rows = open_variant(folder)
    return VariantLine(
        path=folder,
        n_rows=len(rows),
        n_ok=int((rows.status == OK).sum()),
        n_failed=int((rows.status == FAILED).sum()),
        shape=_shape(rows),
        dtype=str(rows.dtype),
        n_bytes=sum(path.stat().st_size for path in everything_in(folder) if path.is_file()),
        digest=rows.digest,
    )


def _shape(rows: Rows) -> str:
    if rows.layout == "pooled":
        return f"({len(rows)}, {rows.dim})"
    if rows.layout == "dense":
        return f"({len(rows)}, {rows.n_tokens}, {rows.dim})"
    return f"({len(rows)}, {rows.n_tokens_total / max(len(rows), 1):.1f} on average, {rows.dim})"
