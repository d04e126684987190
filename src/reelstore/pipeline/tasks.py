"""Tasks of a plan -> staged rows: in this process, or in several."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.encoders.base import Encoder
from reelstore.errors import DatasetError, UndecodableVideoError, WorkerError
from reelstore.params import Params
from reelstore.pipeline.plan import Plan, Rows, Task, load_plan, planned_encoder, planned_rows, staging_folder
from reelstore.pipeline.progress import Progress
from reelstore.pooling import pool
from reelstore.records import Video
from reelstore.store.staging import StagedRows, Staging, staged_rows

Outputs = dict[str, npt.NDArray[np.float32]]

TEXT_WINDOW_BATCHES = 64
"""Captions are sorted into batches of one length within this many batches, and within a task."""
DECODED_AHEAD = 8
POLL_SECONDS = 0.2


def run_tasks(params: Params, plan: Plan, encoder: Encoder, tasks: Sequence[Task], *, progress: Progress) -> None:
    """Embed the rows of these tasks and stage them, each task as soon as it is done; staged ones are left alone."""
    staging = Staging(staging_folder(params, plan.key))
    rows = planned_rows(params, plan)
    todo = [task for task in tasks if not staging.has(task.name)]
    n_todo = sum(len(task.rows) for task in todo)
    progress(0, n_todo)
    results: Iterator[Outputs | UndecodableVideoError]
    if plan.side == "text":
        results = chain.from_iterable(embed_items(params, encoder, rows, task.rows) for task in todo)
    else:  # decoding goes on ahead from task to task
        results = embed_items(params, encoder, rows, chain.from_iterable(task.rows for task in todo))
    done = 0
    for task in todo:
        values = []
        for value in islice(results, len(task.rows)):
            values.append(value)
            done += 1
            progress(done, n_todo)
        staging.write(task.name, _staged(plan, rows, task, values))


def run_in_workers(params: Params, plan: Plan, n_workers: int, *, progress: Progress) -> None:
    """Run all tasks in processes of their own, each with its encoder; on a machine with GPUs, one after the other gets
    the next GPU.

    Raises:
        WorkerError: a process ended before its tasks; what was staged stays.
    """
    staging = Staging(staging_folder(params, plan.key))
    todo = [task for task in plan.tasks if not staging.has(task.name)]
    sizes = {task.name: len(task.rows) for task in todo}
    n_todo = sum(sizes.values())
    progress(0, n_todo)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=_work, args=(params, plan.key, [task.number for task in todo[n::n_workers]], _device(params, n))
        )
        for n in range(min(n_workers, len(todo)))
    ]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(POLL_SECONDS)
            progress(sum(size for name, size in sizes.items() if staging.has(name)), n_todo)
            _refuse_failed(plan, workers)
        _refuse_failed(plan, workers)
        progress(n_todo, n_todo)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            worker.join()


def embed_items(
    params: Params, encoder: Encoder, rows: Rows, numbers: Iterable[int]
) -> Iterator[Outputs | UndecodableVideoError]:
    """The outputs of each item, in order, or why there are none."""
    items: Iterable[Any] = (rows.items[number] for number in numbers)
    if encoder.spec.side == "text":
        prepared: Iterable[Any] = (encoder.prepare(caption.text) for caption in items)
        window = TEXT_WINDOW_BATCHES * encoder.batch_size
    else:
        prepared = _decoded(encoder, items, rows.clips, params.embed.decode_workers)
        window = encoder.batch_size
    yield from _encoded(encoder, prepared, window)


def _staged(
    plan: Plan, rows: Rows, task: Task, values: Sequence[Outputs | UndecodableVideoError]
) -> dict[str, StagedRows]:
    keys = [rows.keys[row] for row in task.rows]
    staged = {}
    for wanted, spec in plan.variants:
        stored = np.dtype(spec.dtype)
        of_variant: list[npt.NDArray[Any] | str] = []
        for value in values:
            if isinstance(value, UndecodableVideoError):
                of_variant.append(str(value))
            elif wanted.pooling is None:
                of_variant.append(value[wanted.output])
            elif not len(value[wanted.output]):
                of_variant.append("it has no tokens to pool")
            else:
                # Rounded first: pooled now or later, from the stored tokens, the numbers are the same.
                of_variant.append(pool(value[wanted.output].astype(stored), wanted.pooling))
        fingerprints = rows.table(spec).fingerprints[task.rows]
        staged[spec.variant] = staged_rows(spec, keys, fingerprints, of_variant)
    return staged


def _decoded(
    encoder: Encoder, videos: Iterable[Video], clips: Path, workers: int
) -> Iterator[npt.NDArray[np.float32] | UndecodableVideoError]:
    """The network's input for each video, decoded ahead of the encoder."""
    from reelstore.video import Sampling, decode, decode_ahead

    sampling = Sampling(**encoder.frames)  # type: ignore[attr-defined]  # only video encoders have it
    size = getattr(encoder, "frame_size", None)  # some want their frames scaled by the decoder

    def load(video: Video) -> npt.NDArray[np.float32]:
        return encoder.prepare(decode(_read_clip(clips, video), sampling=sampling, size=size))

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


def _encoded(encoder: Encoder, prepared: Iterable[Any], window: int) -> Iterator[Outputs | UndecodableVideoError]:
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
                    results[position] = outputs
        yield from results


def _work(params: Params, key: str, numbers: Sequence[int], device: str | None) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    _end_with_parent()
    plan = load_plan(params, key)
    encoder = planned_encoder(params, plan, device=device)
    run_tasks(params, plan, encoder, [plan.task(number) for number in numbers], progress=lambda done, total: None)


def _end_with_parent() -> None:
    """End this process when its parent is gone: a killed run leaves nobody working."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by a parent"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _refuse_failed(plan: Plan, workers: Sequence[Any]) -> None:
    for worker in workers:
        if worker.exitcode:
            ended = f"by signal {-worker.exitcode}" if worker.exitcode < 0 else f"with exit code {worker.exitcode}"
            raise WorkerError(
                f"{plan.key}: a worker ended {ended} (memory, or the message above). "
                "What is staged stays: run it again to go on, with fewer --workers if memory was short."
            )


def _device(params: Params, number: int) -> str | None:
    if params.embed.device not in ("auto", "cuda"):
        return None
    import torch

    n_gpus = torch.cuda.device_count()
    return f"cuda:{number % n_gpus}" if n_gpus else None
