"""Plan an embedding run: variants, rows to embed or to pool, and tasks, frozen in a file before the run."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.arrays import IntArray
from reelstore.datasets.index import read_index
from reelstore.encoders.base import Encoder, EncoderSpec
from reelstore.encoders.registry import load_weights, make_encoder
from reelstore.encoders.variants import VariantRequest
from reelstore.encoders.weights import resolve_device
from reelstore.errors import DamagedFileError, PlanError, StoreError
from reelstore.io import write_atomically
from reelstore.plain import read_typed, typed
from reelstore.project.embed.auto_batch_size import AUTO, largest_batch_size, largest_item, recorded_batch_size
from reelstore.project.settings import Params
from reelstore.project.variants import recipe_of, variant_spec, variants_of
from reelstore.records import Caption, Dataset, Side, Video
from reelstore.store.files import disk_errors, refuse_read_only
from reelstore.store.format import VariantSpec, as_json_bytes
from reelstore.store.staging import StagedIndex, Staging, is_task_name, task_name
from reelstore.store.table import RowTable
from reelstore.store.update import VariantDiff, compare, recover_variant
from reelstore.store.write import row_fingerprints

PLAN = "plan.json"
VERSION_OF_PLAN = 2
TASK_ROWS = {"video": 64, "text": 1024}
"""Of a task at most."""
TASK_BYTES = 16 * 2**20
"""What a task holds in memory at most; a kill loses one task of each worker."""
_BRACKETS = frozenset("<>[]")
TOKENS_EXPECTED = {"video": 32, "text": 16}
"""Of one row, where their number varies: to size tasks by."""


@dataclass(frozen=True)
class Task:
    """Rows that are embedded, or pooled from stored tokens, together and staged as one file.

    Attributes:
        number: its place in the plan.
        name: of its file.
        ranges: rows from each start to, without, its stop.
        pooled: variants that are pooled from stored tokens; empty where the encoder embeds the rows, of all variants.
    """

    number: int
    name: str
    ranges: tuple[tuple[int, int], ...]
    pooled: tuple[str, ...] = ()

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
        return sum(len(task.rows) for task in self.tasks if not task.pooled)

    @property
    def n_to_pool(self) -> int:
        """Rows to be pooled from stored tokens."""
        return sum(len(task.rows) for task in self.tasks if task.pooled)

    def embedded_tasks(self) -> list[Task]:
        """Tasks that need the network."""
        return [task for task in self.tasks if not task.pooled]

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
        self._tables: dict[str, RowTable] = {}

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over keys, splits and contents, in order."""
        lines = json.dumps([self.keys, self.splits, self.contents], ensure_ascii=False)
        return sha256(lines.encode()).hexdigest()

    def table(self, spec: VariantSpec) -> RowTable:
        """Keys, splits and fingerprints of the rows of a variant; made once.

        A pooled row is determined by its tokens' row, whether these are stored or not.
        """
        if spec.fingerprint not in self._tables:
            contents = self.contents
            if "pooling" in spec.recipe:
                of_tokens = row_fingerprints(spec.recipe["tokens"], self.contents)
                contents = [fingerprint.tobytes().hex() for fingerprint in of_tokens]
            fingerprints = row_fingerprints(spec.fingerprint, contents)
            self._tables[spec.fingerprint] = RowTable(self.keys, self.splits, fingerprints)
        return self._tables[spec.fingerprint]


@dataclass(frozen=True)
class PlannedEmbed:
    """A plan, and what was read to make it: nothing is read or hashed twice in a run.

    Attributes:
        plan: what is to be done.
        rows: of the dataset's side.
        diffs: variant -> what is stored of it, its files hashed.
    """

    plan: Plan
    rows: Rows
    diffs: Mapping[str, VariantDiff]


def caption_digest(text: str) -> str:
    """sha256 (hex) of what determines a caption's row beside the encoder: its text, and how that is read.

    Encoders took the spelling of a special token in a caption, `</s>` or `[SEP]`, for the token itself, and now take it
    for text. Captions with brackets of that kind have another digest since, so that they are embedded again; no other
    row is.
    """
    read = "special tokens are text\n" if _BRACKETS.intersection(text) else ""
    return sha256((read + text).encode()).hexdigest()


def plan_embed(params: Params, key: str, spec: EncoderSpec, *, retry_failed: bool = False) -> PlannedEmbed:
    """See what is stored and staged already, and cut the rest into tasks; what a killed update left is settled first.

    Raises:
        ParamsError: `keep` names what the encoder doesn't give.
        StoreError: another process writes there, it is read-only, or what is there isn't a store of this code.
    """
    variants = variants_of(params, key, spec)
    for _, one in variants:
        recover_variant(params.layout.store / key / one.variant)
    rows = read_rows(params, key)
    staging = Staging(staging_folder(params, key))
    staged = StagedIndex(staging)
    stored = diffs(params, key, variants, rows, retry_failed=retry_failed)
    missing = {
        one.variant: diff.todo[
            ~staged.has(one.variant, rows.table(one).fingerprints[diff.todo], failed=not retry_failed)
        ]
        for (_, one), diff in zip(variants, stored.values(), strict=True)
    }
    embedded, pooled = missing_rows(params, spec, variants, rows, missing, stored, retry_failed=retry_failed)
    tables = [rows.table(one) for _, one in variants]
    tasks = _tasks(embedded, tables, _task_rows([one for _, one in variants]))
    for requests, numbers in pooled.items():
        specs = [one for _, one in variants if one.variant in requests]
        tasks += _tasks(numbers, [rows.table(one) for one in specs], TASK_ROWS[specs[0].side], len(tasks), requests)
    for _, one in variants if tasks else ():
        refuse_read_only(params.layout.store / key / one.variant)
    for task in tasks if retry_failed else ():
        staging.drop(task.name)  # all of its rows failed, or it wouldn't be a task again
    plan = Plan(key, recipe_of(spec), variants, rows.digest, len(rows.keys), tasks, retry_failed)
    return PlannedEmbed(plan, rows, stored)


def diffs(
    params: Params,
    key: str,
    variants: Sequence[tuple[VariantRequest, VariantSpec]],
    rows: Rows,
    *,
    retry_failed: bool,
    verify: bool = True,
) -> dict[str, VariantDiff]:
    """Variant -> what is stored of it, against what should be."""
    return {
        spec.variant: compare(
            params.layout.store / key / spec.variant,
            spec,
            rows.table(spec),
            retry_failed=retry_failed,
            verify=verify,
        )
        for _, spec in variants
    }


def missing_rows(
    params: Params,
    encoder: EncoderSpec,
    variants: Sequence[tuple[VariantRequest, VariantSpec]],
    rows: Rows,
    missing: Mapping[str, IntArray],
    stored: Mapping[str, VariantDiff],
    *,
    retry_failed: bool,
    verify: bool = True,
) -> tuple[IntArray, dict[tuple[str, ...], IntArray]]:
    """Rows that need the network, and rows that can be pooled from stored tokens.

    Args:
        params: of the project.
        encoder: whose rows they are.
        variants: what is to be stored.
        rows: of the dataset's side.
        missing: variant -> rows that are neither stored nor staged.
        stored: variant -> what is stored of it.
        retry_failed: count failed rows as missing.
        verify: hash the files of tokens that aren't kept any more.

    Returns:
        Row numbers to embed, of all variants; and pooled variants of one output -> row numbers to pool.
    """
    embed = {row for request, spec in variants if not request.pooling for row in missing[spec.variant].tolist()}
    poolable: dict[tuple[str, ...], set[int]] = {}
    for output in dict.fromkeys(request.output for request, _ in variants if request.pooling):
        of_output = [spec for request, spec in variants if request.pooling and request.output == output]
        names = tuple(spec.variant for spec in of_output if len(missing[spec.variant]))
        if not names:
            continue
        wanted = set(np.concatenate([missing[name] for name in names]).tolist())
        tokens = variant_spec(params, encoder, VariantRequest(output, None))
        diff = stored.get(tokens.variant)
        if diff is None:  # not kept, and perhaps still there
            folder = params.layout.store / f"{encoder.side}/{encoder.name}" / tokens.variant
            with suppress(StoreError):
                diff = compare(folder, tokens, rows.table(tokens), retry_failed=retry_failed, verify=verify)
        there = set() if diff is None else wanted.difference(diff.todo.tolist())
        embed |= wanted - there
        poolable[names] = there
    pooled = {names: np.array(sorted(left)) for names, of in poolable.items() if (left := of - embed)}
    return np.array(sorted(embed), dtype=np.int64), pooled


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
        of = [request for request, spec in plan.variants if spec.variant in task.pooled]
        if len(of) < len(task.pooled) or len({request.output for request in of if request.pooling}) != bool(of):
            return f"task {number} pools {', '.join(task.pooled):.60}, which aren't poolings of one output"
    return None


def planned_rows(params: Params, plan: Plan) -> Rows:
    """The dataset's rows, if they are still those of the plan."""
    rows = read_rows(params, plan.key)
    if rows.digest != plan.items:
        raise PlanError(
            f"{plan.key}: {params.layout.data} has changed since the plan was made. "
            f"Make it again with: reelstore embed plan {plan.key}. What is staged stays."
        )
    return rows


def planned_encoder(params: Params, plan: Plan, *, device: str | None = None) -> Encoder:
    """The encoder, without its network, if it is still that of the plan."""
    encoder = make(params, plan.key, device=device)
    if recipe_of(encoder.spec) != plan.recipe or variants_of(params, plan.key, encoder.spec) != plan.variants:
        raise PlanError(
            f"{plan.key}: the encoder or its settings aren't those of the plan. "
            f"Make it again with: reelstore embed plan {plan.key}"
        )
    return encoder


def load(params: Params, key: str) -> Encoder:
    """The encoder `side/name` as params say, with its weights; as `make` otherwise."""
    encoder = make(params, key, search=True)
    load_weights(encoder)
    return encoder


def make(params: Params, key: str, *, device: str | None = None, search: bool = False) -> Encoder:
    """The encoder `side/name` as params say, without its network.

    With `batch_size: auto` it has the batch size of the rows that are stored or planned; where there are none, the
    encoder's own.

    Args:
        params: of the project.
        key: `side/name`.
        device: another than that of params.
        search: where no rows say the batch size and there is a GPU, find the largest that fits. That loads the network.
    """
    side, _, name = key.partition("/")
    options, device = dict(params.encoder_options(key)), device or params.embed.device

    def with_options(**more: Any) -> Encoder:
        return make_encoder(
            "video" if side == "video" else "text",
            name,
            options={**options, **more},
            device=device,
            threads=params.embed.threads,
        )

    if options.get("batch_size") != AUTO:
        return with_options()
    del options["batch_size"]
    size = recorded_batch_size(staging_folder(params, key) / PLAN, params.layout.store / key)
    if size is None and search and resolve_device(device).startswith("cuda"):
        rows = read_rows(params, key)

        def loaded(size: int) -> Encoder:
            encoder = with_options(batch_size=size)
            load_weights(encoder)
            return encoder

        size = largest_batch_size(loaded, lambda encoder: largest_item(encoder, rows.items, rows.clips, params.embed))
    return with_options() if size is None else with_options(batch_size=size)


def read_rows(params: Params, key: str) -> Rows:
    """The rows of one side of the dataset."""
    return Rows(
        read_index(params.layout.data, name=params.dataset.name), "video" if key.startswith("video/") else "text"
    )


def staging_folder(params: Params, key: str) -> Path:
    """Where a plan and its staged rows are: outside the store, so that no version ever holds half of something."""
    return params.layout.run("embed", key)


def _task_rows(specs: Sequence[VariantSpec]) -> int:
    """Rows of a task: a power of two, so that tasks end where blocks of fixed-length variants do."""
    row_bytes = sum(spec.row_bytes * (TOKENS_EXPECTED[spec.side] if spec.layout == "ragged" else 1) for spec in specs)
    return min(TASK_ROWS[specs[0].side], 1 << max(0, (TASK_BYTES // row_bytes).bit_length() - 1))


def _tasks(
    todo: IntArray, tables: Sequence[RowTable], n_rows: int, first: int = 0, pooled: tuple[str, ...] = ()
) -> tuple[Task, ...]:
    """Cut at multiples of `n_rows` of the whole table, so that the same rows make the same tasks."""
    tasks: list[Task] = []
    blocks: dict[int, list[int]] = {}
    for row in todo.tolist():
        blocks.setdefault(row // n_rows, []).append(row)
    for rows in blocks.values():
        index: IntArray = np.array(rows)
        name = task_name(table.fingerprints[index] for table in tables)
        tasks.append(Task(first + len(tasks), name, _ranges(rows), pooled))
    return tuple(tasks)


def _ranges(rows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return tuple(ranges)
