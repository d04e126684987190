"""Two sides and who belongs to whom -> exact counts of both directions from one pass over the blocks.

Every tile of scores is computed at the fastest level that decides nearly all of its comparisons. What a level leaves
undecided is scored by the reference; a caption with too much of it moves to the next level for good. So the counts are
those of the reference, with any blocks, threads or device.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.arrays import Array, Float64Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.ranking.count_state import CountState, Lengths, refuse_overflow
from reelstore.ranking.counts import DIRECTIONS, MEMORY, Direction, PairCounts, unique_pairs
from reelstore.ranking.filters import LEVELS, Level, OperandBlock, band, find_centres, pair_products
from reelstore.ranking.products import Products, bfloat16_pays, has_torch
from reelstore.ranking.reference import Similarity, block_scores, check_similarity, pair_scores
from reelstore.ranking.sources import Source
from reelstore.ranking.threads import each_alone, keep_memory, meanwhile, n_threads, on_this_thread, one_by_one
from reelstore.ranking.tile_counter import TileCounter
from reelstore.ranking.tiles import GROUP

_SMALL = 1e9
"""Multiplications below which threads cost more than they save."""
_SAMPLE = 32
"""Rows of each side that say whether a centre comes off, and whether bfloat16 decides enough."""
_OPEN = 0.01
"""Share of comparisons left open by bfloat16 from which on settling them costs more than the product saves."""


def count_pairs(
    caption: npt.NDArray[np.integer],
    video_of: npt.NDArray[np.integer],
    *,
    text: Any,
    video: Any,
    similarity: Similarity = "cosine",
    directions: Sequence[Direction] = DIRECTIONS,
    return_hard_negatives: bool = False,
    group: IntArray | None = None,
    memory: int = MEMORY,
    device: str | None = None,
    first: Level | None = None,
) -> dict[Direction, PairCounts]:
    """Counts of the directions asked for, from one pass, in bounded memory.

    Args:
        text: (n_captions, dim) real numbers: arrays, tensors, or a `Source` that is read block by block.
        video: (n_videos, dim).
        caption: (n_pairs,) int; with `video_of`, the relevant pairs. A caption or video may have several, or none.
        video_of: (n_pairs,) int.
        similarity: `cosine` (a zero vector scores 0 with everything), `dot`, or `euclidean` (minus the distance).
        directions: `t2v`, `v2t` or both.
        return_hard_negatives: look for the hardest negative of each query too.
        group: (n_captions,) int, ascending and then -1: in `v2t` items are groups of captions instead, each with the
            score of its best; captions with -1 are in none. The group of a relevant caption is relevant.
        memory: bytes for blocks and tiles; changes speed, never a count.
        device: torch device of the products; None for the processor, or where the tensors are.
        first: level to begin with; None chooses. Changes speed, never a count.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a product of float64 numbers overflows.
    """
    keep_memory()
    check_similarity(similarity)
    sides = Source(text, "text"), Source(video, "video")
    pairs = unique_pairs(caption, video_of, len(sides[1]))
    known = Lengths(len(sides[0])), Lengths(len(sides[1]))
    if sides[0].shape[1] != sides[1].shape[1]:
        raise EvaluationError(f"text is {sides[0].shape[1]} wide and video {sides[1].shape[1]}: they share no space.")
    n_groups = 0 if group is None else int(group.max(initial=-1)) + 1
    if group is not None:
        group = np.where(group < 0, n_groups, group)
        if (group[1:] < group[:-1]).any():
            raise EvaluationError("Groups of captions must ascend, those of no group (-1) last.")

    def counts_of(score: Float64Array) -> dict[Direction, PairCounts]:
        """Nothing counted yet."""
        counts: dict[Direction, PairCounts] = {}
        if "t2v" in directions:
            counts["t2v"] = PairCounts.empty(len(sides[0]), len(sides[1]), *pairs, score)
        if "v2t" in directions:
            counts["v2t"] = PairCounts.empty(len(sides[1]), len(sides[0]), *pairs[::-1], score)
            if group is not None:
                counts["v2t"] = _by_group(counts["v2t"], group, n_groups)
        return counts

    def relevant_scores(caption: IntArray, video_of: IntArray) -> Float64Array:
        return _own_scores(*sides, (caption, video_of), similarity, known)

    def define() -> None:
        for direction, of in counts_of(relevant_scores(*pairs)).items():
            counts[direction].score[:] = of.score

    counts = counts_of(np.zeros(len(pairs[0])))
    if not len(pairs[0]):
        return counts
    device = device or sides[0].device or sides[1].device
    shared = CountState(
        similarity,
        counts,
        *pairs,
        Products(device),
        known,
        return_hard_negatives,
        relevant_scores,
        define,
        group=group,
        n_groups=n_groups,
    )
    counter = _Counter(*sides, shared, device=device, memory=memory, first=first)
    # Scores of the relevant pairs aren't needed before the first products are there.
    if counter.may_estimate:
        shared.leave_open()
    elif counter.threads == 1:
        on_this_thread(define)
    else:
        shared.wait = meanwhile(define)
    try:
        counter.run()
    finally:
        shared.wait()
    return counts


def score_matrix(*, text: Any, video: Any, similarity: Similarity = "cosine", block: int = 1024) -> Float64Array:
    """All scores, (n_captions, n_videos) float64, each the very number `count_pairs` compares.

    Example:
        >>> score_matrix(text=np.array([[2., 0.], [0., 0.]]), video=np.array([[1., 0.], [3., 4.]]))
        array([[1. , 0.6],
               [0. , 0. ]])
    """
    keep_memory()
    check_similarity(similarity)
    sides = Source(text, "text"), Source(video, "video")
    for side in sides:
        side.refuse_nonfinite()
    scores = np.empty((len(sides[0]), len(sides[1])))
    for start in range(0, len(sides[0]), block):
        rows = sides[0].rows(start, start + block)
        for begin in range(0, len(sides[1]), block):
            found = block_scores(rows, sides[1].rows(begin, begin + block), similarity)
            scores[start : start + block, begin : begin + block] = found.T
    refuse_overflow(scores)
    return scores


def refuse_nonfinite(values: Any, name: str) -> None:
    """Raise NonFiniteError with the rows of `values` (n, dim) that hold NaN or infinity."""
    Source(values, name).refuse_nonfinite()


def _spread(n: int) -> IntArray:
    """Rows of a sample, evenly spread."""
    return np.linspace(0, n - 1, min(_SAMPLE, n)).astype(np.int64)


def _is_small(text: Source, video: Source) -> bool:
    return float(len(text)) * len(video) * max(text.shape[1], 16) < _SMALL


def _by_group(counts: PairCounts, group: IntArray, n_groups: int) -> PairCounts:
    """Right pairs of video and group, by the best of its captions."""
    key, place = np.unique(counts.query * (n_groups + 1) + group[counts.item], return_inverse=True)
    score = np.full(len(key), -np.inf)
    np.maximum.at(score, place, counts.score)
    inside = key % (n_groups + 1) < n_groups
    key, score = key[inside], score[inside]
    return PairCounts.empty(counts.n_queries, n_groups, key // (n_groups + 1), key % (n_groups + 1), score)


class _Counter:
    """One pass: blocks of captions stay while the videos stream by."""

    def __init__(
        self, text: Source, video: Source, state: CountState, *, device: str | None, memory: int, first: Level | None
    ) -> None:
        self.text, self.video, self.state = text, video, state
        sample = [side.take(_spread(len(side))) for side in (text, video)]
        for rows, side in zip(sample, (text, video), strict=True):
            if not np.isfinite(rows).all():
                side.refuse_nonfinite()
        state.centres = find_centres(state.similarity, text=sample[0], video=sample[1])
        # Many thresholds leave much open where the bound is wide.
        self.precise = many = "v2t" in state.counts and len(state.caption) >= 4 * len(video)
        self._plan(memory, many)
        self.first: Level = first or self._fastest(many, device)
        if self.first == "bfloat16" and (state.group is not None or not has_torch()):
            self.first = "float32"  # what it leaves open is compared pair by pair, not group by group

    @property
    def may_estimate(self) -> bool:
        """Whether scores of relevant pairs can be left out until one is needed.

        They are most of the work of a small problem. Where a query has several relevant items they order them.
        """
        state = self.state
        one_block = self.threads == 1 and len(self.text) <= self.n_captions and len(self.video) <= self.n_videos
        needed = state.return_hard_negatives or state.group is not None
        return one_block and not needed and all(of.one_relevant for of in state.counts.values())

    def _plan(self, memory: int, many: bool) -> None:
        width = max(self.text.shape[1], 16)
        row = 24 * width  # as stored, in float32, in bfloat16 and, should it come to it, in float64
        threads = n_threads()
        if _is_small(self.text, self.video):
            threads = 1
        self.n_captions = max(GROUP, memory // 2 // row)
        # Where a video has many captions their scores are sorted, and long rows are sorted best.
        largest = min(512 if many else 4096, memory // 4 // row // threads, -(-len(self.video) // threads))
        self.n_videos = max(GROUP, -(-largest // GROUP) * GROUP)
        scores = max(GROUP * GROUP, min(2**22 if many else 2**21, memory // 64 // threads))
        self.n_columns = max(GROUP, scores // self.n_videos)
        self.threads = threads

    def _fastest(self, many: bool, device: str | None) -> Level:
        # With many thresholds a row, what bfloat16 leaves open costs more than its product saves.
        if many or self.state.similarity == "euclidean" or device is not None:
            return "float32"
        work = float(len(self.text)) * len(self.video) * self.text.shape[1]
        return "bfloat16" if bfloat16_pays(work) and self._open_in_bfloat16() < _OPEN else "float32"

    def _open_in_bfloat16(self) -> float:
        """Share of comparisons that bfloat16 would leave open, from a sample."""
        pairs = _spread(len(self.state.caption))
        sides = (
            self._side(self.text.take(self.state.caption[pairs]), "text"),
            self._side(self.video.take(self.state.video_of[pairs]), "video"),
            self._side(self.video.take(_spread(len(self.video))), "video"),
        )
        if any(side.lowest != "bfloat16" for side in sides):
            return 1.0
        text, own, others = (side.bfloat16 for side in sides)
        here = np.arange(len(pairs))
        # Not a matrix product: a BLAS's threads would go on waiting for the next one, in the way of ours.
        products = np.vecdot(text.values[:, None], others.values[None])
        distance = np.abs(products - pair_products(text, own, here, here)[:, None])
        return float(np.mean(distance <= band("bfloat16", text, others, self.state.centres).error))

    def run(self) -> None:
        """Count."""
        for start, stop in self._cuts(0, len(self.text), self.n_captions):
            text = self._side(self.text.rows(start, stop), "text")
            levels = np.full(len(text), LEVELS.index(self.first))

            def count(number: int, text: OperandBlock = text, start: int = start, levels: IntArray = levels) -> None:
                self._block(text, start, number * self.n_videos, levels)

            # A product as short as a small problem's in bfloat16 is over before a second thread has woken up.
            in_blocks = each_alone if self.threads > 1 or self.first == "bfloat16" else one_by_one
            in_blocks(count, -(-len(self.video) // self.n_videos))

    def _cuts(self, start: int, stop: int, step: int) -> list[tuple[int, int]]:
        """Where captions are cut, every `step` of them or so: never within a group."""
        cuts = list(range(start, stop, step))
        if self.state.group is not None:
            cuts = np.unique(np.searchsorted(self.state.group, self.state.group[cuts])).tolist()
            cuts = [start, *(cut for cut in cuts if start < cut < stop)]
        return list(pairwise([*cuts, stop]))

    def _block(self, text: OperandBlock, start: int, begin: int, levels: IntArray) -> None:
        video = self._side(self.video.rows(begin, begin + self.n_videos), "video")
        self._refuse_nonfinite(text, video)
        lowest = max(LEVELS.index(side.lowest) for side in (text, video))
        with self.state.lock:
            np.maximum(levels, lowest, out=levels)
        for first, last in self._cuts(start, start + len(text), self.n_columns):
            self._chunk(text, video, start, begin, slice(first - start, last - start), levels)

    def _side(self, rows: Array, name: str) -> OperandBlock:
        centres, similarity = self.state.centres, self.state.similarity
        if centres is None:
            return OperandBlock(rows, similarity, left=name == "video", precise=self.precise)
        own, other = (centres.text, centres.video) if name == "text" else (centres.video, centres.text)
        return OperandBlock(rows, similarity, own, other, left=name == "video")

    def _chunk(
        self, text: OperandBlock, video: OperandBlock, start: int, begin: int, columns: slice, levels: IntArray
    ) -> None:
        """All videos of a block with some captions, each at its level; those left too open go on to the next."""
        here = np.arange(len(text))[columns]
        with self.state.lock:
            at = levels[here]
        for number, level in enumerate(LEVELS):
            own = here[at == number]
            if not len(own):
                continue
            left = TileCounter(self.state, text, video, start, begin, own, level).count()
            at[np.isin(here, left)] = number + 1
            with self.state.lock:
                levels[left] = np.maximum(levels[left], number + 1)
                if 2 * len(left) > len(own):
                    # Most of these captions needed more; the ones after them will as well.
                    levels[own[-1] + 1 :] = np.maximum(levels[own[-1] + 1 :], number + 1)

    def _refuse_nonfinite(self, text: OperandBlock, video: OperandBlock) -> None:
        for side, source in ((text, self.text), (video, self.video)):
            if not side.finite:
                source.refuse_nonfinite()


def _own_scores(
    text: Source,
    video: Source,
    pairs: tuple[IntArray, IntArray],
    similarity: Similarity,
    known: tuple[Lengths, Lengths],
) -> Float64Array:
    """Reference scores of the relevant pairs; lengths of their rows are known from then on."""
    scores = np.empty(len(pairs[0]))
    for start in range(0, len(scores), 4096):
        some = slice(start, start + 4096)
        blocks, at = [], []
        given: list[Float64Array | None] = []
        for side, of, asked in zip((text, video), known, pairs, strict=True):
            distinct, place = np.unique(asked[some], return_inverse=True)
            in_a_row = len(distinct) == distinct[-1] - distinct[0] + 1
            blocks.append(side.rows(int(distinct[0]), int(distinct[-1]) + 1) if in_a_row else side.take(distinct))
            at.append(place)
            # Lengths of rows that repeat are found once; of others along with their scores.
            repeated = similarity == "cosine" and len(distinct) < len(place)
            given.append(of.put(distinct, blocks[-1])[place] if repeated else None)
        scores[some] = pair_scores(
            blocks[0], blocks[1], similarity, at=(at[0], at[1]), text_lengths=given[0], video_lengths=given[1]
        )
    if not np.isfinite(scores).all():
        text.refuse_nonfinite()
        video.refuse_nonfinite()
        refuse_overflow(scores[:, None])
    return scores
