"""Two variants of any store, imported ones among them -> metrics, without params.yaml; two files into such a store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from reelstore.convert.imports import Import, Target
from reelstore.convert.items import ItemRows
from reelstore.convert.keys import WHOLE
from reelstore.convert.matrix import matrix_items
from reelstore.convert.npy import NpyRows
from reelstore.errors import EvaluationError
from reelstore.evaluation import evaluate
from reelstore.evaluation.matched import match
from reelstore.evaluation.ties import Ties
from reelstore.io import Progress
from reelstore.project.evaluate.files import FilesReport, map_matrix
from reelstore.project.evaluate.outputs import refuse_outputs
from reelstore.project.evaluate.pair_keys import read_pair_keys
from reelstore.project.evaluate.stage import write_found
from reelstore.ranking import Similarity
from reelstore.records import SIDES, Side
from reelstore.store.open import Store, open_store
from reelstore.store.read import Rows


def import_pair(
    text: Path,
    video: Path,
    table: Path,
    *,
    store: Path,
    encoder: str,
    dtype: str | None = None,
    progress: Progress,
) -> str:
    """Bring an array of captions and one of videos into a store, as `<side>/<encoder>/embedding`; a report of both.

    Args:
        text: (n_captions, dim) .npy.
        video: (n_videos, dim) .npy.
        table: who belongs to whom: `read_pair_keys`.
        store: folder of the dataset, `store/mine`.
        encoder: what to call what made them.
        dtype: to round to; by default numbers stay as they are.
        progress: called with rows read and to read.

    Raises:
        EvaluationError: a caption has no video, or several.
        OccupiedError: the folder of a side holds something else; neither is written.
    """
    values = {"text": map_matrix(text), "video": map_matrix(video)}
    keys = read_pair_keys(table, len(values["text"]), len(values["video"]))
    keys.as_keys()
    imports = []
    for side, path, rows in (("text", text, keys.captions), ("video", video, keys.videos)):
        found = values[side].dtype.newbyteorder("=").name
        named = ItemRows.of([row.key for row in rows], [row.split for row in rows])
        items = matrix_items("array", NpyRows(path), found, named, label=str(path))
        target = Target.parse(store / side / encoder / "embedding")
        imports.append(Import.of(items, target, layout="pooled", dtype=dtype, inputs=[text, video, table]))
    for one in imports:  # both, before one of them is written
        one.check_target()
    return "\n".join(one.report(one.run(progress=progress)) for one in imports)


def evaluate_store(
    store: Path,
    *,
    text: str | None = None,
    video: str | None = None,
    split: str | None = None,
    similarity: Similarity = "cosine",
    ties: Ties = "expected",
    ks: Sequence[int] = (1, 5, 10),
    output: Path | None = None,
) -> FilesReport:
    """Measure two pooled variants of a store against each other, as they are.

    Args:
        store: folder of the dataset.
        text, video: `<encoder>/<variant>`; the only pooled one by default.
        split: which rows; the only one by default, `all` for those of all splits.
        similarity, ties, ks: as in `evaluate`.
        output: folder for metrics.json, curves and queries.parquet, which `compare` reads.

    Raises:
        EvaluationError: there are several variants or splits, and none is named; or the two sides put a video and its
            captions into different splits.
    """
    if output is not None:
        refuse_outputs(output, [], store=store)
    opened = open_store(store)
    rows = {side: _chosen(opened, side, name) for side, name in zip(SIDES, (video, text), strict=True)}
    part = _part(rows, split)
    matched = match([rows["video"]], [rows["text"]], part)
    texts, videos = rows["text"].select(matched.captions), rows["video"].select(matched.videos)
    found = evaluate(
        text=texts,
        video=videos,
        video_of_caption=matched.video_of_caption,
        similarity=similarity,
        ties=ties,
        ks=ks,
        return_hard_negatives=output is not None,
    )
    if output is not None:
        write_found(output, found, matched, metrics=output / "metrics.json")
    skipped = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in matched.missing.items() if n)
    heading = [f"{one.folder} (digest {one.digest[:12]})" for one in (rows["text"], rows["video"])]
    heading.append(
        f"split {part or WHOLE}: {len(matched.captions)} captions, {len(matched.videos)} videos"
        + (f"; skipped, without a value: {skipped}" if skipped else "")
    )
    return FilesReport(found, output, tuple(heading))


def _chosen(store: Store, side: Side, name: str | None) -> Rows:
    if name is not None:
        rows = store[f"{side}/{name}"]
        if rows.layout != "pooled":
            command = f"reelstore pool {side}/{rows.encoder} --store {store.path}"
            raise EvaluationError(f"{rows.folder} holds tokens. Pool them: {command}")
        return rows
    pooled = [key for key in store if key.startswith(f"{side}/") and store[key].layout == "pooled"]
    if len(pooled) != 1:
        names = ", ".join(key.removeprefix(f"{side}/") for key in pooled) or "none"
        raise EvaluationError(f"{store.path}: pooled variants of {side}: {names}. Name one, with --{side}.")
    return store[pooled[0]]


def _part(rows: Mapping[Side, Rows], asked: str | None) -> str | None:
    """The split to measure; None for the rows of all."""
    splits = {side: Counter(of.table.splits) for side, of in rows.items()}
    names = sorted({name for count in splits.values() for name in count})
    if asked is None and len(names) == 1:
        return names[0]
    there = "; ".join(
        f"{rows[side].folder} has the splits {', '.join(f'{name} ({n})' for name, n in sorted(count.items()))}"
        for side, count in splits.items()
    )
    if asked is None:
        raise EvaluationError(f"{there}. Name one with --split, or measure all together with --split {WHOLE}.")
    if asked == WHOLE:
        if any(WHOLE in count and len(count) > 1 for count in splits.values()):
            raise EvaluationError(f"--split {WHOLE} may be one split or all of them: {there}. Give that split a name.")
        return None
    if any(asked not in count for count in splits.values()):
        raise EvaluationError(f"Not both sides have a split {asked!r}: {there}.")
    split_of = dict(zip(rows["video"].table.keys, rows["video"].table.splits, strict=True))
    for key, split in zip(rows["text"].table.keys, rows["text"].table.splits, strict=True):
        other = split_of.get(key[0], split)
        if asked in (split, other) and split != other:
            raise EvaluationError(
                f"Caption {key!r} is in the split {split!r} of {rows['text'].folder}, its video in {other!r} of "
                f"{rows['video'].folder}. Import both sides with the same splits."
            )
    return asked
