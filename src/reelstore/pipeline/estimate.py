"""What an embed run would take: rows, bytes, files, disk and hours, before anything is written."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelstore.params import Params
from reelstore.pipeline.embed import embed_items, plan_embed
from reelstore.pipeline.inventory import readable_bytes
from reelstore.pooling import POOLINGS
from reelstore.store.schema import VariantSpec
from reelstore.store.update import compare
from reelstore.store.writer import disk_free

SAMPLE_ITEMS = {"video": 8, "text": 256}
"""Items embedded to measure the rate, spread over those to do."""
SHARING_CACHE_TYPES = ("reflink", "hardlink", "symlink")


@dataclass(frozen=True)
class VariantEstimate:
    """Bytes and files of one variant once it's whole."""

    variant: str
    n_bytes: int
    n_files: int


@dataclass(frozen=True)
class EmbedEstimate:
    """What an embed run and the pooling after it would take."""

    encoder: str
    n_rows: int
    n_todo: int
    variants: tuple[VariantEstimate, ...]
    cache_type: str
    n_bytes_cache: int
    n_bytes_free: int
    items_per_second: float | None

    @property
    def n_bytes_peak(self) -> int:
        """Disk taken at most: the variants, their new files under temporary names, and DVC's copy."""
        return sum(v.n_bytes for v in self.variants) + self.variants[0].n_bytes + self.n_bytes_cache

    def summary(self) -> str:
        """Lines for people."""
        lines = [f"{self.encoder}: {self.n_todo} of {self.n_rows} rows to embed"]
        lines += [f"  {v.variant:<8} {readable_bytes(v.n_bytes):>10}  {v.n_files} files" for v in self.variants]
        lines.append(
            f"  disk at peak {readable_bytes(self.n_bytes_peak)}, of it {readable_bytes(self.n_bytes_cache)} "
            f"DVC's copy (cache type {self.cache_type}); {readable_bytes(self.n_bytes_free)} are free"
        )
        if self.items_per_second:
            hours = self.n_todo / self.items_per_second / 3600
            lines.append(f"  {self.items_per_second:.1f} rows/s measured just now: {hours:.2f} hours")
        if self.n_bytes_peak > self.n_bytes_free:
            lines.append("  That doesn't fit on this disk.")
        return "\n".join(lines)


def estimate_embed(params: Params, encoder: str, *, retry_failed: bool) -> EmbedEstimate:
    """Measure the rate on a few items and add up the rest; writes nothing."""
    plan = plan_embed(params, encoder)
    todo = compare(plan.folder, plan.spec, plan.table, retry_failed=retry_failed, verify=False).todo
    picks = np.unique(np.linspace(0, len(todo) - 1, SAMPLE_ITEMS[plan.side]).astype(int))
    sample = [plan.items[row] for row in todo[picks]] if len(todo) else []
    list(embed_items(plan, sample[:1], params))  # the first call also warms up
    started = time.perf_counter()
    tokens = [one for one in embed_items(plan, sample, params) if not isinstance(one, Exception)]
    seconds = time.perf_counter() - started
    n_tokens = float(np.mean([len(one) for one in tokens])) if tokens else float(plan.spec.n_tokens or 1)
    variants = [_estimate(plan.spec, len(plan.table), n_tokens)]
    for pooling in POOLINGS:
        pooled = VariantSpec(plan.side, plan.spec.encoder, pooling, plan.spec.dim, 0, plan.spec.dtype, {})
        variants.append(_estimate(pooled, len(plan.table), 0))
    cache_type = _cache_type(plan.folder)
    n_bytes = sum(variant.n_bytes for variant in variants)
    return EmbedEstimate(
        encoder=encoder,
        n_rows=len(plan.table),
        n_todo=len(todo),
        variants=tuple(variants),
        cache_type=cache_type,
        n_bytes_cache=0 if cache_type in SHARING_CACHE_TYPES else n_bytes,
        n_bytes_free=disk_free(plan.folder),
        items_per_second=len(sample) / seconds if sample and seconds else None,
    )


def _estimate(spec: VariantSpec, n_rows: int, n_tokens: float) -> VariantEstimate:
    values = spec.values_array()
    n_value_rows = round(n_rows * n_tokens) if spec.layout == "ragged" else n_rows
    n_bytes = n_value_rows * spec.row_bytes
    n_files = -(-n_value_rows // values.file_rows) + 2  # the array's and the group's zarr.json
    for array in spec.table_arrays():
        rows_per_file, row_bytes = array.file_rows, int(np.prod(array.row_shape)) * np.dtype(array.dtype).itemsize
        n_here = n_rows * (8 if array.name == "video_id" else 1)
        n_array_files = -(-n_here // rows_per_file)
        n_bytes += n_array_files * rows_per_file * row_bytes
        n_files += n_array_files + 1
    return VariantEstimate(spec.variant, n_bytes, n_files)


def _cache_type(folder: Path) -> str:
    """How DVC would link the store: the first of its configured types that this disk allows."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            types = list(repo.cache.local.cache_types)
    except NotDvcRepoError:
        return "none: not a DVC repository"
    for kind in types:
        if kind != "reflink" or _can_reflink(folder):
            return str(kind)
    return "copy"


def _can_reflink(folder: Path) -> bool:
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.is_dir())
    kind = subprocess.run(["stat", "-f", "-c", "%T", existing], capture_output=True, text=True, check=False)
    return kind.stdout.strip() in ("btrfs", "xfs", "apfs")
