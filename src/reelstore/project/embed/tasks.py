"""Run a plan's tasks, in this process or in several, and stage their rows."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import Array
from reelstore.encoders.base import Encoder
from reelstore.encoders.registry import load_weights
from reelstore.encoders.variants import VariantRequest
from reelstore.encoders.weights import known_digests, remember_digests
from reelstore.errors import PlanError, UnusableItemError, WorkerError
from reelstore.io import Progress, no_progress
from reelstore.project.embed.batches import Outputs, encoded
from reelstore.project.embed.plan import Plan, Rows, Task, load_plan, planned_encoder, planned_rows, staging_folder
from reelstore.project.embed.preprocess import preprocessed
from reelstore.project.embed.signals import accept_signals, signals_wait
from reelstore.project.pool import pooled_or_why
from reelstore.project.settings import Params
from reelstore.store.format import OK, VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.staging import StagedRows, Staging, staged_rows
from reelstore.store.update import compare

TEXT_WINDOW_BATCHES = 64
"""Captions of one length are gathered into batches within this many batches, and within two tasks."""
VIDEO_WINDOW_BATCHES = 4
"""The same of videos with equally many frames, which take more memory."""
POLL_SECONDS = 0.2


def run_tasks(
    params: Params,
    plan: Plan,
    encoder: Encoder,
    tasks: Sequence[Task],
    *,
    progress: Progress,
    rows: Rows | None = None,
) -> None:
    """Make the rows of these tasks and stage them, each task as soon as it is done; staged ones are left alone.

    The encoder never waits for a decoder, a tokeniser or a disk that keep up with it: items are got ready ahead of it,
    batches are filled across tasks, and a task is pooled and written while the next one is embedded.

    Args:
        params: of the project.
        plan: whose tasks they are.
        encoder: with its weights, unless all of these tasks are staged or pooled from stored tokens.
        tasks: to run.
        progress: called with rows done and to do.
        rows: of the dataset, where they have been read.
    """
    staging = Staging(staging_folder(params, plan.key))
    rows = planned_rows(params, plan) if rows is None else rows
    left = [task for task in tasks if not staging.has(task.name)]
    todo = [task for task in left if not task.pooled]
    sizes = [len(task.rows) for task in todo]
    n_rows = sum(len(task.rows) for task in left)
    progress(0, n_rows)
    numbers = chain.from_iterable(task.rows for task in todo)
    results = embed_items(params, encoder, rows, numbers, held=2 * max(sizes, default=1))
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="stage") as thread:
        writing: Future[None] | None = None
        for task, size in zip(todo, sizes, strict=True):
            values = []
            for value in islice(results, size):
                values.append(value)
                done += 1
                progress(done, n_rows)
            if writing is not None:
                writing.result()
            writing = thread.submit(_stage, staging, plan, rows, task, values)
        if writing is not None:
            writing.result()
    tokens: dict[tuple[str, ...], _StoredTokens] = {}
    for task in (one for one in left if one.pooled):
        if task.pooled not in tokens:
            tokens[task.pooled] = _tokens_of(params, plan, rows, task)
        _stage_pooled(staging, plan, rows, task, tokens[task.pooled])
        done += len(task.rows)
        progress(done, n_rows)


def needs_network(params: Params, plan: Plan, tasks: Sequence[Task]) -> bool:
    """Whether a row of these tasks has to be embedded still."""
    staging = Staging(staging_folder(params, plan.key))
    return any(not task.pooled and not staging.has(task.name) for task in tasks)


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
            target=_work,
            args=(
                params,
                plan.key,
                [task.number for task in todo[n::n_workers]],
                _device(params, n),
                known_digests(),
            ),
        )
        for n in range(min(n_workers, len(todo)))
    ]
    try:
        with signals_wait():
            for worker in workers:
                worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(POLL_SECONDS)
            progress(sum(size for name, size in sizes.items() if staging.has(name)), n_todo)
            _refuse_failed(plan, workers)
        _refuse_failed(plan, workers)
        progress(n_todo, n_todo)
    finally:
        started = [worker for worker in workers if worker.pid is not None]
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join()


def embed_items(
    params: Params, encoder: Encoder, rows: Rows, numbers: Iterable[int], *, held: int
) -> Iterator[Outputs | UnusableItemError]:
    """The outputs of each item, in order, or why there are none.

    Args:
        params: of the project.
        encoder: that embeds them.
        rows: the dataset's.
        numbers: which.
        held: items of text that may wait for others to fill a batch with; what is held in memory.
    """
    items: Iterable[Any] = (rows.items[number] for number in numbers)
    text = encoder.spec.side == "text"
    held = min(held, TEXT_WINDOW_BATCHES * encoder.batch_size) if text else VIDEO_WINDOW_BATCHES * encoder.batch_size
    inputs = preprocessed(encoder, items, rows.clips, workers=params.embed.decode_workers, bounds=params.embed)
    yield from encoded(encoder, inputs, held)


def _stage(staging: Staging, plan: Plan, rows: Rows, task: Task, values: Sequence[Outputs | UnusableItemError]) -> None:
    """Pool what is pooled, and write the rows of a task, of every variant."""
    staged: dict[str, StagedRows] = {}
    for request, spec in plan.variants:
        stored = np.dtype(spec.dtype)
        of_variant: list[Array | str] = []
        for value in values:
            if isinstance(value, UnusableItemError):
                of_variant.append(str(value))
            elif request.pooling is None:
                of_variant.append(value[request.output])
            else:
                # Rounded first: pooled now or later, from the stored tokens, the numbers are the same.
                of_variant.append(pooled_or_why(value[request.output].astype(stored), request.pooling))
        staged[spec.variant] = _staged_rows(spec, rows, task, of_variant)
    staging.write(task.name, staged)


class _StoredTokens:
    """The stored tokens that poolings are made from, found once for all tasks.

    Args:
        folder: of the tokens' variant.
        fingerprint: of the variant they must be.
        rows: of the dataset's side.

    Raises:
        PlanError: they aren't those of the plan any more.
    """

    def __init__(self, folder: Path, fingerprint: str, rows: Rows) -> None:
        self._folder, self._tokens = folder, open_variant(folder)
        if self._tokens.fingerprint != fingerprint:
            raise self._changed()
        spec = self._tokens.spec
        self._place_of = compare(folder, spec, rows.table(spec), verify=False).source  # (n,) row there, -1 for none
        self._reasons = self._tokens.failures

    def of(self, task: Task) -> Iterator[Array | str]:
        """The tokens of each row of a task, read as they are asked for, or why it has none."""
        places = self._place_of[task.rows]
        if (places < 0).any():
            raise self._changed()
        is_ok = self._tokens.status[places] == OK
        values = self._tokens.walk(places[is_ok].tolist())
        for place, ok in zip(places.tolist(), is_ok.tolist(), strict=True):
            yield next(values) if ok else self._reasons[self._tokens.table.keys[place]]

    def _changed(self) -> PlanError:
        return PlanError(f"{self._folder} has changed since the plan was made. Make it again: what is staged stays.")


def _stage_pooled(staging: Staging, plan: Plan, rows: Rows, task: Task, tokens: _StoredTokens) -> None:
    """Pool the rows of a task from the stored tokens, and write them, of each variant that is pooled so."""
    pooled = [(request, spec) for request, spec in plan.variants if spec.variant in task.pooled]
    values: dict[str, list[Array | str]] = {spec.variant: [] for _, spec in pooled}
    for value in tokens.of(task):
        for request, spec in pooled:
            result = value if isinstance(value, str) else pooled_or_why(value, str(request.pooling))
            values[spec.variant].append(result)
    staged = {spec.variant: _staged_rows(spec, rows, task, values[spec.variant]) for _, spec in pooled}
    staging.write(task.name, staged)


def _tokens_of(params: Params, plan: Plan, rows: Rows, task: Task) -> _StoredTokens:
    """The stored tokens that a task pools."""
    request, spec = next(one for one in plan.variants if one[1].variant in task.pooled)
    folder = params.layout.store / plan.key / VariantRequest(request.output, None).variant
    return _StoredTokens(folder, str(spec.recipe["tokens"]), rows)


def _staged_rows(spec: VariantSpec, rows: Rows, task: Task, values: Sequence[Array | str]) -> StagedRows:
    table = rows.table(spec)
    return staged_rows(spec, table.keys.at(np.asarray(task.rows)), table.fingerprints[task.rows], values)


def _work(
    params: Params,
    key: str,
    numbers: Sequence[int],
    device: str | None,
    digests: Mapping[tuple[str, int, int], str],
) -> None:
    """What a worker process does."""
    accept_signals()
    _end_with_parent()
    remember_digests(digests)
    plan = load_plan(params, key)
    encoder = planned_encoder(params, plan, device=device)
    tasks = [plan.task(number) for number in numbers]
    if needs_network(params, plan, tasks):
        load_weights(encoder)
    run_tasks(params, plan, encoder, tasks, progress=no_progress)


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
