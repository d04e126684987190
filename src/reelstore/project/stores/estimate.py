"""What an embed run would take: rows, bytes, files and disk; with a measured rate, hours too. Nothing is written."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from reelstore.arrays import IntArray
from reelstore.encoders.base import TOKENS, Encoder
from reelstore.encoders.registry import load_weights
from reelstore.encoders.variants import VariantRequest
from reelstore.errors import DamagedFileError, ReelstoreError
from reelstore.io import read_bytes, readable_bytes
from reelstore.pooling import POOLINGS
from reelstore.project.embed.batches import Outputs
from reelstore.project.embed.plan import TOKENS_EXPECTED, Rows, diffs, make, missing_rows, read_rows
from reelstore.project.embed.tasks import embed_items
from reelstore.project.settings import Params
from reelstore.project.variants import pooled_spec, variants_of
from reelstore.store.chunks import layouts
from reelstore.store.files import disk_free
from reelstore.store.format import SCHEMA_VERSION, VariantSpec
from reelstore.store.update import VariantDiff

SAMPLE_ITEMS = {"video": 8, "text": 256}
"""Items embedded to measure the rate, spread over those to embed."""
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
    n_to_pool: int
    variants: tuple[VariantEstimate, ...]
    cache_type: str
    n_bytes_staged: int
    n_bytes_cache: int
    n_bytes_free: int
    items_per_second: float | None

    @property
    def n_bytes_peak(self) -> int:
        """Disk taken at most: the variants, the rows staged on their way into them, and DVC's copy."""
        return sum(v.n_bytes for v in self.variants) + self.n_bytes_staged + self.n_bytes_cache

    def summary(self) -> str:
        """Lines for people."""
        to_pool = f", {self.n_to_pool} to pool from stored tokens" if self.n_to_pool else ""
        lines = [f"{self.encoder}: {self.n_todo} of {self.n_rows} rows to embed{to_pool}"]
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


def estimate_embed(params: Params, key: str, *, retry_failed: bool, measure: bool = False) -> EmbedEstimate:
    """Add up what is missing, by the encoder's spec and what is stored; writes nothing.

    Args:
        params: of the project.
        key: `side/encoder`.
        retry_failed: count failed rows as missing.
        measure: embed a few items to measure the rate and their tokens. That loads the network, if a row needs it.
    """
    encoder = make(params, key)
    spec = encoder.spec
    rows, variants = read_rows(params, key), variants_of(params, key, spec)
    stored = diffs(params, key, variants, rows, retry_failed=retry_failed, verify=False)
    missing = {variant: diff.todo for variant, diff in stored.items()}
    todo, to_pool = missing_rows(params, spec, variants, rows, missing, stored, retry_failed=retry_failed, verify=False)
    outputs, rate = _measured(params, encoder, rows, todo) if measure and len(todo) else ([], None)
    estimates = []
    for request, of in variants:
        lengths = [len(one[request.output]) for one in outputs]
        estimates.append(_estimate(of, len(rows.keys), _n_tokens(of, stored[of.variant], lengths)))
    if params.keep(key) is None:
        for pooling in POOLINGS:
            pooled = pooled_spec(variants[0][1], VariantRequest(TOKENS, pooling))
            estimates.append(_estimate(pooled, len(rows.keys), 0))
    cache_type = _cache_type(params.layout.store)
    n_bytes = sum(estimate.n_bytes for estimate in estimates)
    return EmbedEstimate(
        encoder=key,
        n_rows=len(rows.keys),
        n_todo=len(todo),
        n_to_pool=len(set().union(*(numbers.tolist() for numbers in to_pool.values()))),
        variants=tuple(estimates),
        cache_type=cache_type,
        n_bytes_staged=sum(estimate.n_bytes for estimate in estimates[: len(variants)]),
        n_bytes_cache=0 if cache_type in SHARING_CACHE_TYPES else n_bytes,
        n_bytes_free=disk_free(params.layout.store),
        items_per_second=rate,
    )


def _measured(params: Params, encoder: Encoder, rows: Rows, todo: IntArray) -> tuple[list[Outputs], float]:
    """The outputs of a few items, spread over those to embed, and how many a second."""
    load_weights(encoder)
    picks = np.unique(np.linspace(0, len(todo) - 1, SAMPLE_ITEMS[encoder.spec.side]).astype(int))
    sample = todo[picks].tolist()
    list(embed_items(params, encoder, rows, sample[:1], held=1))  # the first call also warms up
    started = time.perf_counter()
    results = list(embed_items(params, encoder, rows, sample, held=len(sample)))
    rate = len(sample) / max(time.perf_counter() - started, 1e-9)
    return [one for one in results if not isinstance(one, Exception)], rate


def _n_tokens(spec: VariantSpec, diff: VariantDiff, lengths: Sequence[int]) -> float:
    """Tokens of a row on average: of the items measured, else of the rows stored, else what is usual for the side."""
    if lengths:
        return float(np.mean(lengths))
    if diff.published is not None and diff.published.n_rows and spec.layout == "ragged":
        return float(diff.published.attributes["n_value_rows"] / diff.published.n_rows)
    return float(TOKENS_EXPECTED[spec.side])


ID_BYTES = 10
"""Of a video_id, as far as an estimate goes."""


def _estimate(spec: VariantSpec, n_rows: int, n_tokens: float) -> VariantEstimate:
    n_value_rows = round(n_rows * n_tokens) if spec.layout == "ragged" else n_rows
    arrays = layouts(spec, n_rows, n_value_rows, n_rows * ID_BYTES, SCHEMA_VERSION).values()
    n_files = [-(-(array.n_rows or 0) // array.file_rows) for array in arrays]
    n_bytes = sum(array.file_bytes(number) for array, n in zip(arrays, n_files, strict=True) for number in range(n))
    return VariantEstimate(spec.variant, n_bytes, sum(n_files) + len(n_files) + 1)  # and a zarr.json each


def _cache_type(folder: Path) -> str:
    """How DVC would link the store: the first of its configured types that this disk allows.

    Raises:
        DamagedFileError: DVC can't read its settings.
        IrregularFileError, OSError: they aren't regular files, or can't be read.
    """
    if find_spec("dvc") is None:
        return "none: DVC isn't installed"
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        root = Path(Repo.find_root())
        for name in ("config", "config.local"):
            if (root / ".dvc" / name).is_symlink() or (root / ".dvc" / name).exists():
                read_bytes(root / ".dvc" / name)  # DVC opens it, a pipe too
        with Repo(str(root)) as repo:
            types = list(repo.cache.local.cache_types)
    except NotDvcRepoError:
        return "none: not a DVC repository"
    except (DvcException, ValueError) as error:
        if isinstance(error, ReelstoreError):
            raise
        problem = " ".join(str(error).split())
        raise DamagedFileError(f"DVC can't read its settings in {root / '.dvc'}: {problem}") from error
    for kind in types:
        if kind != "reflink" or _can_reflink(folder):
            return str(kind)
    return "copy"


def _can_reflink(folder: Path) -> bool:
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.is_dir())
    kind = subprocess.run(["stat", "-f", "-c", "%T", existing], capture_output=True, text=True, check=False)
    return kind.stdout.strip() in ("btrfs", "xfs", "apfs")
