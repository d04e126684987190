"""The embed stage: embed one side of a dataset with one encoder into the store, by plan, tasks and finalise."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reelstore.encoders.registry import load_weights
from reelstore.errors import PlanError
from reelstore.io import Progress, is_folder
from reelstore.project.embed.equal_rows import EqualRows, WatchedUpdate
from reelstore.project.embed.plan import (
    Plan,
    PlannedEmbed,
    load_plan,
    make,
    plan_embed,
    planned_encoder,
    planned_rows,
    staging_folder,
)
from reelstore.project.embed.tasks import needs_network, run_in_workers, run_tasks
from reelstore.project.failure_limit import NAMED, check_failures
from reelstore.project.settings import Params
from reelstore.store.commit import is_variant, remove_variant
from reelstore.store.staging import StagedIndex, Staging
from reelstore.store.stored import open_published
from reelstore.store.update import UpdateReport

_WHY_CAPTIONS = (
    "Either they were cut at the encoder's longest text before they differ, or the encoder doesn't tell them apart: "
    "see its tokenizer's files, its language, and which token is pooled."
)


@dataclass(frozen=True)
class EmbedReport:
    """What embedding one side did."""

    key: str
    folder: Path
    updates: tuple[UpdateReport, ...]
    seconds: float
    failures: Mapping[Any, str]
    equal_rows: tuple[EqualRows, ...] = ()
    """Variants in which more than a few different items share a row, the one with most of them first."""
    n_embedded: int = 0
    """Rows that went through the network."""
    n_pooled: int = 0
    """Rows that were pooled from stored tokens."""

    @property
    def warning(self) -> str | None:
        """One line on different items that share a row."""
        if not self.equal_rows:
            return None
        worst, *others = self.equal_rows
        items = "captions" if self.key.startswith("text/") else "videos"
        also = f" (so do some in {', '.join(of.variant for of in others)})" if others else ""
        return (
            f"{self.folder / worst.variant}: {worst.n_items} different {items} have one and the same row{also}, "
            f"{worst.examples[0]!r} and {worst.examples[1]!r} among them. "
            + ("Look at them." if items == "videos" else _WHY_CAPTIONS)
        )

    @property
    def n_new(self) -> int:
        """Rows embedded, of the variant that took most."""
        return max(update.n_new for update in self.updates)

    def summary(self) -> str:
        """A line for each variant, and one for each of the first failures."""
        lines = []
        for update in self.updates:
            how = "embedded" if not self.n_pooled else "embedded or pooled" if self.n_embedded else "pooled from tokens"
            done = f"{update.n_new} {how} in {self.seconds:.1f} s" if update.n_new else "nothing to embed"
            lines.append(
                f"{self.folder / update.variant}: {update.n_rows} rows, {done}, {update.n_rows - update.n_new} reused, "
                f"{update.n_failed} failed. Digest {update.digest[:12]}."
            )
            lines += [f"  repaired: {file}" for file in update.repaired]
        lines += [f"  equal rows: {self.warning}"] if self.warning else []
        lines += [f"  failed: {key}: {reason}" for key, reason in islice(self.failures.items(), NAMED)]
        return "\n".join(lines)


def run_embed(params: Params, key: str, *, retry_failed: bool, workers: int, progress: Progress) -> EmbedReport:
    """Embed what isn't up to date, and publish.

    Raises:
        TooManyFailuresError: more rows failed than `embed.max_failures` allows. The others are stored all the same.
    """
    started = time.perf_counter()
    encoder = make(params, key, search=True)
    planned = plan_embed(params, key, encoder.spec, retry_failed=retry_failed)
    plan = planned.plan
    plan.save(staging_folder(params, key))
    if workers > 1 and len(plan.embedded_tasks()) > 1:
        run_in_workers(params, plan, workers, progress=progress)  # each has an encoder of its own
    else:
        if needs_network(params, plan, plan.tasks):
            load_weights(encoder)
        run_tasks(params, plan, encoder, plan.tasks, progress=progress, rows=planned.rows)
    return _publish(params, planned, started=started)


def freeze_plan(params: Params, key: str, *, retry_failed: bool) -> Plan:
    """Make the plan and keep it for tasks that are run one by one."""
    plan = plan_embed(params, key, make(params, key, search=True).spec, retry_failed=retry_failed).plan
    plan.save(staging_folder(params, key))
    return plan


def run_planned(params: Params, key: str, numbers: Sequence[int], *, progress: Progress) -> Plan:
    """Run these tasks of the plan; all that aren't staged where none is named."""
    plan = load_plan(params, key)
    tasks = [plan.task(number) for number in numbers] if numbers else plan.tasks
    encoder = planned_encoder(params, plan)
    if needs_network(params, plan, tasks):
        load_weights(encoder)
    run_tasks(params, plan, encoder, tasks, progress=progress)
    return plan


def finalise(params: Params, key: str) -> EmbedReport:
    """Check that every task is done, and publish each variant.

    Raises:
        PlanError: a task isn't done, or the dataset isn't that of the plan.
        TooManyFailuresError: more rows failed than `embed.max_failures` allows. The others are stored all the same.
    """
    started = time.perf_counter()
    plan = load_plan(params, key)
    return _publish(params, PlannedEmbed(plan, planned_rows(params, plan), {}), started=started)


def _publish(params: Params, planned: PlannedEmbed, *, started: float) -> EmbedReport:
    plan, rows, key = planned.plan, planned.rows, planned.plan.key
    staging = Staging(staging_folder(params, key))
    waiting = [task.number for task in plan.tasks if not staging.has(task.name)]
    if waiting:
        numbers = ", ".join(map(str, waiting[:10])) + (", …" if len(waiting) > 10 else "")
        raise PlanError(
            f"{key}: {len(waiting)} of {len(plan.tasks)} tasks aren't done: {numbers}. "
            f"Run them with: reelstore embed task {key} {waiting[0]} …"
        )
    folder = params.layout.store / key
    staged = StagedIndex(staging)
    updates, equal_rows = [], []
    for _, spec in plan.variants:
        with WatchedUpdate(
            folder / spec.variant,
            spec,
            rows.table(spec),
            retry_failed=plan.retry_failed,
            diff=planned.diffs.get(spec.variant),
        ) as update:
            staged.give(update)
            updates.append(update.finish())
            equal_rows.append(update.equal_rows(rows.items))
    if params.keep(key) is not None:
        _sweep_variants(folder, {spec.variant for _, spec in plan.variants})
    staging.clear()
    worst = max(updates, key=lambda update: update.n_failed)  # a pooling may fail where its tokens don't
    published = open_published(folder / worst.variant, verify=False)
    failures = {} if published is None else published.failures
    check_failures(folder, worst.n_rows, failures, params.embed.max_failures)
    found = sorted(filter(None, equal_rows), key=lambda of: -of.n_items)
    seconds = time.perf_counter() - started
    return EmbedReport(key, folder, tuple(updates), seconds, failures, tuple(found), plan.n_todo, plan.n_to_pool)


def open_plans(params: Params) -> list[str]:
    """Encoders that have a plan of this dataset."""
    folder = params.layout.run("embed")
    return sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/plan.json"))


def _sweep_variants(folder: Path, kept: set[str]) -> None:
    """A streamed encoder's folder is one output: variants that `keep` doesn't list go, and what isn't ours stays."""
    for path in sorted(folder.iterdir()):
        if path.name not in kept and is_folder(path) and is_variant(path):
            remove_variant(path)
