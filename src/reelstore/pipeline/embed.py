"""The embed stage: one side of a dataset through one encoder, into the store as tokens."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.datasets.index import read_index
from reelstore.encoders.base import TOKENS, Encoder
from reelstore.encoders.registry import load_encoder
from reelstore.errors import DatasetError, TooManyFailuresError, UndecodableVideoError
from reelstore.params import Params
from reelstore.records import Caption, Dataset, Side, Video
from reelstore.store.schema import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import UpdateReport, VariantUpdate
from reelstore.store.writer import row_fingerprints

Progress = Callable[[int, int], None]
"""Called with rows done and rows to do."""

TEXT_WINDOW_BATCHES = 64
"""Captions are sorted into batches of one length within this many batches."""
DECODED_AHEAD = 8


@dataclass(frozen=True)
class EmbedReport:
    """What embedding one side did."""

    encoder: str
    folder: Path
    update: UpdateReport
    seconds: float
    failures: dict[Any, str]

    def summary(self) -> str:
        """A line for people, and one for each of the first failures."""
        update = self.update
        done = f"{update.n_new} embedded in {self.seconds:.1f} s" if update.n_new else "nothing to embed"
        lines = [
            f"{self.folder}: {update.n_rows} rows, {done}, {update.n_rows - update.n_new} taken over, "
            f"{update.n_failed} failed. Digest {update.digest[:12]}."
        ]
        lines += [f"  failed: {key}: {reason}" for key, reason in islice(self.failures.items(), 10)]
        return "\n".join(lines)


@dataclass(frozen=True)
class EmbedPlan:
    """What is to be done for one side: encoder, rows, and where they go."""

    side: Side
    encoder: Encoder
    items: tuple[Video, ...] | tuple[Caption, ...]
    clips: Path
    folder: Path
    spec: VariantSpec
    table: RowTable


def plan_embed(params: Params, encoder: str) -> EmbedPlan:
    """Load the encoder and freeze the rows."""
    side_name, _, name = encoder.partition("/")
    side: Side = "video" if side_name == "video" else "text"
    options = params.encoder_options(encoder)
    dataset = read_index(params.data_folder)
    loaded = load_encoder(side, name, options=options, device=params.embed.device, threads=params.embed.threads)
    recipe = _recipe(loaded)
    spec = VariantSpec(
        side=side,
        encoder=name,
        variant="tokens",
        dim=loaded.spec.outputs[TOKENS].dim,
        n_tokens=loaded.spec.outputs[TOKENS].n_tokens,
        dtype=params.embed.dtype,
        recipe=recipe,
    )
    items = dataset.videos if side == "video" else dataset.captions
    folder = params.store_folder / side / name / "tokens"
    return EmbedPlan(side, loaded, items, dataset.clips, folder, spec, _table(dataset, side, spec))


def run_embed(params: Params, encoder: str, *, retry_failed: bool, progress: Progress) -> EmbedReport:
    """Embed what isn't up to date, and publish.

    Raises:
        TooManyFailuresError: more rows failed than `embed.max_failures` allows. The others are stored all the same.
    """
    started = time.perf_counter()
    plan = plan_embed(params, encoder)
    update = VariantUpdate(plan.folder, plan.spec, plan.table, retry_failed=retry_failed)
    n_todo = len(update.todo)
    progress(0, n_todo)
    items = [plan.items[row] for row in update.todo]
    for done, (row, tokens) in enumerate(zip(update.todo, embed_items(plan, items, params), strict=True), start=1):
        if isinstance(tokens, UndecodableVideoError):
            update.fail(int(row), str(tokens))
        else:
            update.put(int(row), tokens)
        progress(done, n_todo)
    report = update.finish()
    from reelstore.store.reader import open_variant

    failures = dict(open_variant(plan.folder).failures)
    result = EmbedReport(encoder, plan.folder, report, time.perf_counter() - started, failures)
    _check_failures(result, params.embed.max_failures)
    return result


def embed_items(
    plan: EmbedPlan, items: Iterable[Any], params: Params
) -> Iterator[npt.NDArray[np.float32] | UndecodableVideoError]:
    """Tokens of each item, in order, or why there are none."""
    if plan.side == "text":
        prepared: Iterable[Any] = (plan.encoder.prepare(caption.text) for caption in items)
        window = TEXT_WINDOW_BATCHES * plan.encoder.batch_size
    else:
        prepared = _decoded(plan, items, params.embed.decode_workers)
        window = plan.encoder.batch_size
    yield from _encoded(plan.encoder, prepared, window)


def _decoded(
    plan: EmbedPlan, videos: Iterable[Video], workers: int
) -> Iterator[npt.NDArray[np.float32] | UndecodableVideoError]:
    """The network's input for each video, decoded ahead of the encoder."""
    from reelstore.video import Sampling, decode, decode_ahead

    sampling = Sampling(**plan.encoder.frames)  # type: ignore[attr-defined]  # only video encoders have it
    size = getattr(plan.encoder, "frame_size", None)  # some want their frames scaled by the decoder

    def load(video: Video) -> npt.NDArray[np.float32]:
        return plan.encoder.prepare(decode(_read_clip(plan.clips, video), sampling=sampling, size=size))

    for video, result in decode_ahead(videos, load, workers=workers, depth=DECODED_AHEAD):
        if isinstance(result, Exception) and not isinstance(result, UndecodableVideoError):
            result.add_note(f"video {video.video_id!r}")
            raise result
        yield result


def _read_clip(clips: Path, video: Video) -> bytes:
    path = clips / video.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path} is missing (video {video.video_id!r}). Run dvc pull, or dvc repro dataset."
        ) from None
    if sha256(content).hexdigest() != video.sha256:
        raise DatasetError(
            f"{path} isn't the file the dataset's table names (video {video.video_id!r}). Run dvc repro dataset."
        )
    return content


def _encoded(
    encoder: Encoder, prepared: Iterable[Any], window: int
) -> Iterator[npt.NDArray[np.float32] | UndecodableVideoError]:
    """Encode in batches of one shape within a window of items, and give the results in order."""
    source = iter(prepared)
    while items := list(islice(source, window)):
        results: list[Any] = list(items)
        by_bucket: dict[Any, list[int]] = {}
        for position, item in enumerate(items):
            if not isinstance(item, Exception):
                by_bucket.setdefault(encoder.bucket(item), []).append(position)
        for positions in by_bucket.values():
            for start in range(0, len(positions), encoder.batch_size):
                batch = positions[start : start + encoder.batch_size]
                for position, outputs in zip(batch, encoder.encode([items[p] for p in batch]), strict=True):
                    results[position] = outputs[TOKENS]
        yield from results


def _recipe(encoder: Encoder) -> dict[str, Any]:
    """All that determines the numbers beside the items."""
    recipe: dict[str, Any] = {"encoder": encoder.spec.as_json()}
    if encoder.spec.side == "video":
        from reelstore.video import BACKEND

        recipe["decoder"] = BACKEND
    return recipe


def _table(dataset: Dataset, side: Side, spec: VariantSpec) -> RowTable:
    split_of = {video.video_id: video.split for video in dataset.videos}
    if side == "video":
        return RowTable(
            [video.video_id for video in dataset.videos],
            [video.split for video in dataset.videos],
            row_fingerprints(spec.fingerprint, [video.sha256 for video in dataset.videos]),
        )
    return RowTable(
        [(caption.video_id, caption.caption_index) for caption in dataset.captions],
        [split_of[caption.video_id] for caption in dataset.captions],
        row_fingerprints(spec.fingerprint, [sha256(c.text.encode()).hexdigest() for c in dataset.captions]),
    )


def _check_failures(report: EmbedReport, max_failures: float) -> None:
    allowed = max_failures * report.update.n_rows if max_failures < 1 else max_failures
    if report.update.n_failed > allowed:
        reasons = "\n".join(f"  {key}: {reason}" for key, reason in islice(report.failures.items(), 10))
        raise TooManyFailuresError(
            f"{report.folder}: {report.update.n_failed} of {report.update.n_rows} rows failed, "
            f"embed.max_failures allows {allowed:g}.\n{reasons}\n"
            "Mend or remove these files, or raise embed.max_failures; the other rows are stored."
        )
