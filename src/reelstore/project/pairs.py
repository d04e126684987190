"""The stages pairs, mined and leakage: which captions are shown with which videos, and what splits share."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reelstore.datasets.index import read_index
from reelstore.doctor.leakage import Leakage, leakage, near_duplicates
from reelstore.errors import LeakageError, ParamsError
from reelstore.io import replace_together, write_atomically
from reelstore.pairs.build import TRAINING_SPLITS, Pair, SplitCaptions, labelled_pairs, positive_pairs
from reelstore.pairs.files import pairs_parquet
from reelstore.pairs.hard import HardNegatives
from reelstore.project.settings import MinedParams, PairsParams, Params
from reelstore.records import Dataset
from reelstore.store.open import open_store


@dataclass(frozen=True)
class PairsReport:
    """Positive and negative pairs of each split, and what the splits share."""

    folder: Path
    n_pairs: dict[str, Counter[int]]
    leakage: Sequence[Leakage]

    def summary(self) -> str:
        """Lines for people."""
        counts = []
        for split, by_label in self.n_pairs.items():
            negative = f" and {by_label[0]} negative ones" if by_label[0] else ""
            counts.append(f"{by_label[1]} pairs{negative} to {split}")
        return "\n".join([f"{self.folder}: {', '.join(counts)}", *(f"  {found}" for found in self.leakage)])


@dataclass(frozen=True)
class LeakageReport:
    """Near-duplicates that splits share by one variant, and where all of them are listed."""

    variant: str
    path: Path
    leakage: Sequence[Leakage]

    def summary(self) -> str:
        """Lines for people."""
        if not self.leakage:
            return f"{self.variant}: no near-duplicates across splits"
        return "\n".join([f"{self.variant}: {self.path}", *(f"  {found}" for found in self.leakage)])


def run_pairs(params: Params, name: str) -> PairsReport:
    """Write pairs/<dataset>/<name>/train.parquet and validation.parquet.

    Raises:
        LeakageError: splits share what `leakage.allow` doesn't allow.
        DatasetError: a split to train with is empty.
    """
    sets = {**params.pairs, **params.mined}
    if name not in sets:
        raise ParamsError(f"pairs and mined have no {name!r}. Known: {', '.join(sets)}.")
    dataset = read_index(params.layout.data, name=params.dataset.name)
    found = leakage(dataset)
    _refuse(params, dataset.name, found)
    pairs = {split: pairs_of_split(params, dataset, split, sets[name]) for split in TRAINING_SPLITS}
    folder = params.layout.pairs(name)
    replace_together({folder / f"{split}.parquet": pairs_parquet(of_split) for split, of_split in pairs.items()})
    counts = {split: Counter(pair.label for pair in of_split) for split, of_split in pairs.items()}
    return PairsReport(folder, counts, found)


def run_leakage(params: Params, variant: str) -> LeakageReport:
    """Look for near-duplicates across splits in one variant; list them in plots/<dataset>/leakage/<variant>/near.csv.

    Raises:
        LeakageError: there are some, and `leakage.allow` doesn't allow them.
    """
    found = near_duplicates(open_store(params.layout.store)[variant], near=params.leakage.near)
    path = params.layout.near_duplicates(variant)
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["split", "key", "other_split", "other_key", "cosine"])
    for one in found:
        first, second = one.splits
        for key, like, cosine in one.rows:
            table.writerow([second, _cell(key), first, _cell(like), f"{cosine:.4f}"])
    write_atomically(path, lines.getvalue().encode())
    _refuse(params, variant, found)
    return LeakageReport(variant, path, found)


def pairs_of_split(params: Params, dataset: Dataset, split: str, settings: PairsParams) -> list[Pair]:
    """The pairs of one split by the settings of one set; hard negatives are read from the store."""
    captions = SplitCaptions(dataset, split)
    if not settings.positives and not settings.negatives and not settings.doubled:
        return positive_pairs(captions, seed=settings.seed)
    sampler = None
    if isinstance(settings, MinedParams):
        rows = open_store(params.layout.store)[settings.embedding]
        sampler = HardNegatives(captions, rows, among=settings.among)
    return labelled_pairs(
        captions,
        positives=settings.positives,
        negatives=settings.negatives,
        doubled=settings.doubled,
        seed=settings.seed,
        sampler=sampler,
    )


def _refuse(params: Params, name: str, found: Sequence[Leakage]) -> None:
    refused = [one for one in found if one.kind not in params.leakage.allow]
    if refused:
        kinds = sorted({one.kind for one in refused})
        raise LeakageError(
            f"{name}: splits give each other away. "
            + " ".join(f"{one}." for one in refused)
            + " Give what is alike one `group`, or remove it; if scores may profit from it, allow it in params.yaml: "
            f"leakage: {{allow: [{', '.join(kinds)}]}}."
        )


def _cell(key: str | tuple[str, int]) -> str:
    return key if isinstance(key, str) else f"{key[0]}/{key[1]}"
