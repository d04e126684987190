"""The pairs stage: a dataset -> pairs for training and validation, and what its splits share."""

from dataclasses import dataclass
from pathlib import Path

from reelstore.datasets.index import read_index
from reelstore.errors import DatasetError
from reelstore.pairs.build import TRAINING_SPLITS, positive_pairs, write_pairs
from reelstore.pairs.leakage import Leakage, leakage
from reelstore.params import Params


@dataclass(frozen=True)
class PairsReport:
    """Pairs of each split, and what the splits share."""

    folder: Path
    n_pairs: dict[str, int]
    leakage: tuple[Leakage, ...]

    def summary(self) -> str:
        """Lines for people."""
        lines = [f"{self.folder}: " + ", ".join(f"{n} pairs to {split}" for split, n in self.n_pairs.items())]
        lines += [
            f"  {found.n_captions_shared} captions of {found.splits[1]} have a text of {found.splits[0]}"
            for found in self.leakage
            if found.n_captions_shared
        ]
        return "\n".join(lines)


def run_pairs(params: Params) -> PairsReport:
    """Write pairs/<dataset>/train.jsonl and validation.jsonl.

    Raises:
        DatasetError: two splits hold the same file, or one to train with is empty.
    """
    dataset = read_index(params.data_folder)
    found = leakage(dataset)
    for pair in found:
        if pair.n_files_shared:
            raise DatasetError(
                f"{dataset.name}: {pair.n_files_shared} files are in both {pair.splits[0]} and {pair.splits[1]}. "
                "Give equal videos one `group`, or remove the copies."
            )
    folder = Path("pairs") / dataset.name
    counts = {}
    for split in TRAINING_SPLITS:
        pairs = positive_pairs(dataset, split, seed=params.pairs.seed)
        if not pairs:
            raise DatasetError(f"{dataset.name} has no videos with captions in the split {split!r}; change its splits.")
        write_pairs(folder / f"{split}.jsonl", pairs)
        counts[split] = len(pairs)
    return PairsReport(folder, counts, tuple(found))
