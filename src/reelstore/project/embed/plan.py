"""What embedding one side takes, frozen in a file before anything is embedded: rows, variants, tasks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.datasets.index import read_index
from reelstore.encoders.base import Encoder
from reelstore.encoders.registry import load_encoder
from reelstore.encoders.variants import VariantRequest
from reelstore.encoders.weights import resolve_device
from reelstore.errors import DamagedFileError, PlanError
from reelstore.io import write_atomically
from reelstore.plain import read_typed, typed
from reelstore.project.embed.auto_batch_size import AUTO, largest_batch_size, largest_item, recorded_batch_size
from reelstore.project.settings import Params
from reelstore.project.variants import recipe_of, variants_of
from reelstore.records import Caption, Dataset, Side, Video
from reelstore.store.files import disk_errors, refuse_read_only
from reelstore.store.format import SHARD_ROWS, VariantSpec, as_json_bytes
from reelstore.store.staging import StagedIndex, Staging, is_task_name, task_name
from reelstore.store.table import RowTable
from reelstore.store.update import VariantDiff, compare, settle
from reelstore.store.write import row_fingerprints

PLAN = "plan.json"
VERSION_OF_PLAN = 1
TASK_BYTES = 16 * 2**20
"""What a task holds in memory at most; a kill loses one task of each worker."""
_BRACKETS = frozenset("<>[]")
TOKENS_EXPECTED = {"video": 32, "text": 16}
"""Of one row, where their number varies: to size tasks by."""


@dataclass(frozen=True)
class Task:
    """Rows that are embedded together and staged as one file."""

    number: int
    name: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> list[int]:
        """Row numbers, ascending."""
        return [row for start, stop in self.ranges for row in range(start, stop)]


@dataclass(frozen=True)
class Plan:
    """What is to be done for one side of a dataset.

    Attributes:
        key: `side/encoder`.
        recipe: what determines all rows beside the items: encoder, decoder.
        variants: what is stored, with its spec.
        items: sha256 (hex) over the rows' keys, splits and contents.
        n_rows: rows of the dataset's side.
        tasks: what has to be embedded.
        retry_failed: whether rows that failed before are among them.
    """

    key: str
    recipe: Mapping[str, Any]
    variants: tuple[tuple[VariantRequest, VariantSpec], ...]
    items: str
    n_rows: int
    tasks: tuple[Task, ...]
    retry_failed: bool

    @property
    def side(self) -> Side:
        """`video` or `text`."""
        return "video" if self.key.startswith("video/") else "text"

    @property
    def n_todo(self) -> int:
        """Rows to be embedded."""
        return sum(stop - start for task in self.tasks for start, stop in task.ranges)

    def task(self, number: int) -> Task:
        """A task by its number."""
        if not 0 <= number < len(self.tasks):
            raise PlanError(f"{self.key}: there is no task {number}; the plan has {len(self.tasks)}, from 0.")
        return self.tasks[number]

    def save(self, folder: Path) -> None:
        """plan.json; the same plan gives the same bytes."""
        with disk_errors(folder):
            write_atomically(folder / PLAN, as_json_bytes({"version": VERSION_OF_PLAN, **asdict(self)}))


class Rows:
    """The rows of one side of a dataset: its items, and their tables for each variant."""

    def __init__(self, dataset: Dataset, side: Side) -> None:
        self.clips = dataset.clips
        self.items: tuple[Video, ...] | tuple[Caption, ...] = dataset.videos if side == "video" else dataset.captions
        split_of = {video.video_id: video.split for video in dataset.videos}
        self.keys: list[Any]
        if side == "video":
            self.keys = [video.video_id for video in dataset.videos]
            self.contents = [video.sha256 for video in dataset.videos]
        else:
            self.keys = [(caption.video_id, caption.caption_index) for caption in dataset.captions]
            self.contents = [caption_digest(caption.text) for caption in dataset.captions]
        self.splits = [split_of[item.video_id] for item in self.items]

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over keys, splits and contents, in order."""
        lines = json.dumps([self.keys, self.splits, self.contents], ensure_ascii=False)
        return sha256(lines.encode()).hexdigest()

    def table(self, spec: VariantSpec) -> RowTable:
        """Keys, splits and fingerprints of the rows of a variant.

        A pooled row is determined by its tokens' row, whether these are stored or not.
        """
        if "pooling" not in spec.recipe:
            return RowTable(self.keys, self.splits, row_fingerprints(spec.fingerprint, self.contents))
        of_tokens = row_fingerprints(spec.recipe["tokens"], self.contents)
        contents = [fingerprint.tobytes().hex() for fingerprint in of_tokens]
        return RowTable(self.keys, self.splits, row_fingerprints(spec.fingerprint, contents))


def caption_digest(text: str) -> str:
    """sha256 (hex) of what determines a caption's row beside the encoder: its text, and how that is read.

    Encoders took the spelling of a special token in a caption, `</s>` or `[SEP]`, for the token itself, and now take it
    for text. Captions with brackets of that kind have another digest since, so that they are embedded again; no other
    row is.
    """
    read = "special tokens are text\n" if _BRACKETS.intersection(text) else ""
    return sha256((read + text).encode()).hexdigest()


def plan_embed(params: Params, key: str, encoder: Encoder, *, retry_failed: bool = False) -> Plan:
    """See what is stored and staged already, and cut the rest into tasks; what a killed update left is settled first.

    Raises:
        ParamsError: `keep` names what the encoder doesn't give.
        StoreError: another process writes there, it is read-only, or what lies there isn't a store of this code.
    """
    variants = variants_of(params, key, encoder.spec)
    for _, spec in variants:
        settle(params.store_folder / key / spec.variant)
    rows = read_rows(params, key)
    tables = {spec.variant: rows.table(spec) for _, spec in variants}
    staging = Staging(staging_folder(params, key))
    staged = StagedIndex(staging)
    todo: set[int] = set()
    for spec, standing in diffs(params, key, variants, rows, retry_failed=retry_failed):
        missing = standing.todo
        there = staged.has(spec.variant, tables[spec.variant].fingerprints[missing], failed=not retry_failed)
        todo.update(missing[~there].tolist())
    tasks = _tasks(sorted(todo), list(tables.values()), _task_rows([spec for _, spec in variants]))
    for _, spec in variants if tasks else ():
        refuse_read_only(params.store_folder / key / spec.variant)
    for task in tasks if retry_failed else ():
        staging.drop(task.name)  # all of its rows failed, or it wouldn't be a task again
    return Plan(key, recipe_of(encoder.spec), variants, rows.digest, len(rows.keys), tasks, retry_failed)


def diffs(
    params: Params,
    key: str,
    variants: Sequence[tuple[VariantRequest, VariantSpec]],
    rows: Rows,
    *,
    retry_failed: bool,
    verify: bool = True,
) -> Iterator[tuple[VariantSpec, VariantDiff]]:
    """What is stored of each variant, against what should be."""
    for _, spec in variants:
        folder = params.store_folder / key / spec.variant
        yield spec, compare(folder, spec, rows.table(spec), retry_failed=retry_failed, verify=verify)


def load_plan(params: Params, key: str) -> Plan:
    """The frozen plan.

    Raises:
        PlanError: there is none, or it is of another version.
    """
    path = staging_folder(params, key) / PLAN
    again = f"Make it again with: reelstore embed plan {key}"
    try:
        raw = read_typed(path, dict[str, Any])
        if raw.pop("version", None) != VERSION_OF_PLAN:
            raise PlanError(f"{path} was made by another reelstore. {again}")
        plan: Plan = typed(raw, Plan, path)
    except (FileNotFoundError, NotADirectoryError):
        raise PlanError(f"{key} has no plan ({path} isn't there). Make it with: reelstore embed plan {key}") from None
    except DamagedFileError as error:
        raise PlanError(f"{path} is damaged: {error} {again}") from None
    if plan.key != key:
        raise PlanError(f"{path} is a plan for {plan.key!r:.60}, not for {key}. {again}")
    if (fault := _fault(plan)) is not None:
        raise PlanError(f"{path} is damaged: {fault}. {again}")
    return plan


def _fault(plan: Plan) -> str | None:
    """Why a plan isn't one that `plan_embed` makes; None where it is."""
    for wanted, spec in plan.variants:
        if f"{spec.side}/{spec.encoder}" != plan.key or spec.variant != wanted.variant:
            return f"the variant {spec.side}/{spec.encoder}/{spec.variant} isn't one of {plan.key}"
    if not plan.variants or len({spec.variant for _, spec in plan.variants}) < len(plan.variants):
        return "it names a variant twice, or none"
    for number, task in enumerate(plan.tasks):
        if task.number != number or not is_task_name(task.name):
            return f"task {number} has the number {task.number} and the name {task.name!r:.60}"
        ends = [end for ends in task.ranges for end in ends]
        if not ends or sorted(set(ends[::2])) != ends[::2] or sorted(ends) != ends or ends[0] < 0:
            return f"the rows of task {number} aren't in order"
        if ends[-1] > plan.n_rows or any(start == stop for start, stop in task.ranges):
            return f"task {number} names rows that aren't there, or none"
    return None


def planned_rows(params: Params, plan: Plan) -> Rows:
    """The dataset's rows, if they are still those of the plan."""
    rows = read_rows(params, plan.key)
    if rows.digest != plan.items:
        raise PlanError(
            f"{plan.key}: {params.data_folder} has changed since the plan was made. "
            f"Make it again with: reelstore embed plan {plan.key}. What is staged stays."
        )
    return rows


def planned_encoder(params: Params, plan: Plan, *, device: str | None = None) -> Encoder:
    """The encoder, if it is still that of the plan."""
    encoder = load(params, plan.key, device=device)
    if recipe_of(encoder.spec) != plan.recipe or variants_of(params, plan.key, encoder.spec) != plan.variants:
        raise PlanError(
            f"{plan.key}: the encoder or its settings aren't those of the plan. "
            f"Make it again with: reelstore embed plan {plan.key}"
        )
    return encoder


def load(params: Params, key: str, *, device: str | None = None) -> Encoder:
    """The encoder `side/name` as params say.

    With `batch_size: auto` it has the batch size of the rows that are stored or planned; where there are none, the
    largest that a GPU's memory allows, or the encoder's own on a CPU.
    """
    side, _, name = key.partition("/")
    options, device = dict(params.encoder_options(key)), device or params.embed.device

    def with_options(**more: Any) -> Encoder:
        return load_encoder(
            "video" if side == "video" else "text",
            name,
            options={**options, **more},
            device=device,
            threads=params.embed.threads,
        )

    if options.get("batch_size") != AUTO:
        return with_options()
    del options["batch_size"]
    size = recorded_batch_size(staging_folder(params, key) / PLAN, params.store_folder / key)
    if size is None and resolve_device(device).startswith("cuda"):
        rows = read_rows(params, key)
        size = largest_batch_size(
            lambda size: with_options(batch_size=size),
            lambda encoder: largest_item(encoder, rows.items, rows.clips, params.embed),
        )
    return with_options() if size is None else with_options(batch_size=size)


def read_rows(params: Params, key: str) -> Rows:
    """The rows of one side of the dataset."""
    return Rows(
        read_index(params.data_folder, name=params.dataset.name), "video" if key.startswith("video/") else "text"
    )


def staging_folder(params: Params, key: str) -> Path:
    """Where a plan and its staged rows lie: outside the store, so that no version ever holds half of something."""
    return Path("runs") / "embed" / params.dataset.name / key


def _task_rows(specs: Sequence[VariantSpec]) -> int:
    """Rows of a task: a power of two, so that full tasks are whole shards of fixed-length variants."""
    row_bytes = sum(spec.row_bytes * (TOKENS_EXPECTED[spec.side] if spec.layout == "ragged" else 1) for spec in specs)
    return min(SHARD_ROWS[specs[0].side], 1 << max(0, (TASK_BYTES // row_bytes).bit_length() - 1))


def _tasks(todo: Sequence[int], tables: Sequence[RowTable], n_rows: int) -> tuple[Task, ...]:
    """Cut at multiples of `n_rows` of the whole table, so that the same rows make the same tasks."""
    tasks: list[Task] = []
    blocks: dict[int, list[int]] = {}
    for row in todo:
        blocks.setdefault(row // n_rows, []).append(row)
    for rows in blocks.values():
        index: IntArray = np.array(rows)
        name = task_name(table.fingerprints[index] for table in tables)
        tasks.append(Task(len(tasks), name, _ranges(rows)))
    return tuple(tasks)


def _ranges(rows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return tuple(ranges)
