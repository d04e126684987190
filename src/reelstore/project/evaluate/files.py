"""Embeddings in .npy files and a table of who belongs to whom -> metrics, without a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reelstore.arrays import Array
from reelstore.convert.npy import map_values
from reelstore.errors import EvaluationError
from reelstore.evaluation import Evaluation, evaluate
from reelstore.evaluation.intervals import HOLDS_FIXED, cluster_descriptions
from reelstore.evaluation.matched import Matched
from reelstore.evaluation.relevance import Pairs
from reelstore.evaluation.ties import Ties
from reelstore.project.evaluate.outputs import refuse_outputs
from reelstore.project.evaluate.pair_keys import read_pair_keys
from reelstore.project.evaluate.stage import write_found
from reelstore.ranking import Similarity
from reelstore.ranking.sources import Reordered, Source


@dataclass(frozen=True)
class FilesReport:
    """What was found, and where it was written."""

    evaluation: Evaluation
    output: Path | None
    heading: tuple[str, ...] = ()
    """Lines on what was measured."""

    def summary(self) -> str:
        """Metrics beside chance and their intervals."""
        lines = [*self.heading, str(self.evaluation)]
        lines += ["", f"Intervals hold fixed: {HOLDS_FIXED}."]
        lines += [f"Clusters of {side}: {words}." for side, words in cluster_descriptions(self.evaluation).items()]
        return "\n".join(lines + ([f"\n{self.output}"] if self.output else []))


def evaluate_files(
    text: Path,
    video: Path,
    table: Path,
    *,
    similarity: Similarity = "cosine",
    ties: Ties = "expected",
    ks: Sequence[int] = (1, 5, 10),
    split: str | None = None,
    output: Path | None = None,
) -> FilesReport:
    """Evaluate two .npy files; they are mapped, not loaded.

    Args:
        text: (n_captions, dim) .npy.
        video: (n_videos, dim) .npy.
        table: who belongs to whom, by row number or by id: `read_pair_keys`.
        similarity, ties, ks: as in `evaluate`.
        split: of the table, which captions and videos; the only one by default, `all` for everything.
        output: folder for metrics.json, curves and queries.parquet, which `compare` reads.

    Raises:
        EvaluationError: the table has several splits and none is named, or not the one that is.
    """
    if output is not None:
        refuse_outputs(output, [text, video, table])
    sides = map_matrix(text), map_matrix(video)
    keys = read_pair_keys(table, len(sides[0]), len(sides[1])).of_split(split)
    texts, videos = (
        rows if len(which) == len(rows) else Reordered(Source(rows, name), which)
        for rows, name, which in zip(sides, ("text", "video"), (keys.caption_rows, keys.video_rows), strict=True)
    )
    pairs = Pairs(keys.caption, keys.video)
    found = evaluate(
        text=texts,
        video=videos,
        video_of_caption=pairs,
        similarity=similarity,
        ties=ties,
        ks=ks,
        return_hard_negatives=output is not None,
    )
    if output is not None:
        captions = [(str(row.key[0]), int(row.key[1])) for row in keys.captions]
        matched = Matched([str(row.key) for row in keys.videos], captions, keys.video, {})
        write_found(output, found, matched, metrics=output / "metrics.json")
    heading = (f"split {split}: {len(keys.captions)} captions, {len(keys.videos)} videos",) if split else ()
    return FilesReport(found, output, heading)


def map_matrix(path: Path) -> Array:
    """A .npy of (n, dim), mapped.

    Raises:
        EvaluationError: it has another number of axes.
    """
    values = map_values(path)
    if values.ndim != 2:
        raise EvaluationError(f"{path} has shape {values.shape}; (n, dim) is expected.")
    return values
