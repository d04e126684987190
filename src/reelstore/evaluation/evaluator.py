"""Metrics of two sets of embeddings, or of a matrix of scores, given which items are relevant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from reelstore.arrays import IntArray
from reelstore.errors import EvaluationError
from reelstore.evaluation.gains import Gain, Gains, relevant_counts
from reelstore.evaluation.relevance import judged_pairs, refuse_other_labels
from reelstore.evaluation.result import V2T, Evaluation, result
from reelstore.evaluation.ties import Ties
from reelstore.evaluation.v2t import first_captions, group_max
from reelstore.ranking import (
    DIRECTIONS,
    MEMORY,
    Direction,
    Matrix,
    MaxSim,
    PairCounts,
    Scorer,
    Similarity,
    count_pairs,
    count_scores,
)
from reelstore.ranking.arguments import cut_offs, finite_number, one_of, truth, whole_number
from reelstore.ranking.devices import check_device
from reelstore.ranking.sources import Source

_FORMS = (
    "evaluate takes text, video and video_of_caption (or relevance), or scores and relevance (or video_of_caption); "
    "not a mixture."
)


def evaluate(
    *,
    text: Any = None,
    video: Any = None,
    video_of_caption: Any = None,
    scores: Any = None,
    relevance: Any = None,
    similarity: Similarity | Literal["maxsim"] = "cosine",
    relevant_from: float = 1.0,
    gain: Gain = "linear",
    ks: int | Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    v2t: V2T = "best",
    directions: Direction | Sequence[Direction] = DIRECTIONS,
    return_hard_negatives: bool = False,
    memory: int = MEMORY,
    device: str | None = None,
) -> Evaluation:
    """Retrieval metrics of two sets of embeddings, in both directions from one product, or of a matrix of scores.

    Either `text`, `video` and `video_of_caption` (or `relevance`); or `scores` and `relevance`, which is one direction
    of any queries and items, or `scores` and `video_of_caption`, which is captions and videos in both.

    Queries without a relevant item (a video without captions, a caption of no video) are excluded from all means and
    counted in `health.no_relevant`; they stay among the items.

    Args:
        text: (n_captions, dim): an array, a tensor, a memory-mapped file, or rows of a store (`pairs.text`), read by
            blocks.
        video: (n_videos, dim), of the same width.
        video_of_caption: (n_captions,) int, row of each caption's video; -1 where it has none.
        scores: (n_queries, n_items), higher is closer, compared as they are. -inf, or a masked value, is an item that
            wasn't retrieved: it earns nothing in any metric but the ranks. Or a `Scorer`, such as `MaxSim` on tokens.
        relevance: a matrix (n_captions, n_videos) or (n_queries, n_items) of grades or truth values: an array, a
            tensor, a data frame, sparse, or nested lists. Or `Pairs(query, item, grade)`, or a dict
            {query: {item: grade}}. Or (n_queries,) int as `video_of_caption`. 0 and negative grades are not relevant.
        similarity: `cosine`, `dot` or `euclidean`. `maxsim` is `scores=MaxSim(text=text, video=video)`, where both
            are tokens.
        relevant_from: lowest grade that counts as relevant, above 0. Only nDCG uses lower grades, and grades as such.
        gain: of nDCG: `linear`, the grade itself as in trec_eval, or `exponential`, 2**grade - 1 (Burges et al. 2005).
        ks: cut-offs, whole numbers from 1.
        ties: `expected` (the mean of each metric over all orders of equal scores), `optimistic`, `pessimistic`.
        v2t: what a video searches in video-to-text, and what its rank is.
            `best`: all captions; the rank of the best-ranked of its own captions.
            `group_max`: the videos that have captions, each with the score of its best caption; the rank of the video
            itself.
            `first`: the first caption of each video; the rank of its own.
        directions: `t2v`, `v2t` or both.
        return_hard_negatives: also find each query's hardest negative, the non-relevant item with the highest score,
            and the gap to it: `result.t2v.hardest_negative`, `.gap`.
        memory: bytes for blocks of rows and scores; changes speed, no number.
        device: torch device of the products; by default the processor, or where the tensors are.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a score is NaN.
        UnknownNameError: a name isn't one of those above.
        EvaluationError: another argument isn't as above, shapes don't fit together, or no query has a relevant item.

    Example:
        >>> text = np.array([[1., 0.], [0., 1.], [1., 1.]])
        >>> video = np.array([[1., 0.], [0., 1.]])
        >>> result = evaluate(text=text, video=video, video_of_caption=[0, 1, 1], ks=(1,))
        >>> result.t2v["R@1"]                 # two captions find their video; the third ties with both
        0.8333333333333334
        >>> result.chance["t2v"]["R@01"]
        0.5
        >>> evaluate(scores=[[.9, .1], [.8, .8]], relevance=[0, 1], ks=(1,)).metrics["retrieval"]["hit@01"]
        0.75
    """
    ks, directions, relevant_from = cut_offs(ks), _directions(directions), finite_number("relevant_from", relevant_from)
    one_of("similarity", similarity, (*get_args(Similarity), "maxsim"))
    for kind, value, known in (("tie rule", ties, Ties), ("v2t rule", v2t, V2T), ("gain", gain, Gain)):
        one_of(kind, value, get_args(known))
    return_hard_negatives, memory = (
        truth("return_hard_negatives", return_hard_negatives),
        whole_number("memory", memory, 1),
    )
    check_device(device)
    if relevant_from <= 0:
        raise EvaluationError(f"relevant_from is {relevant_from:g}; it must be above 0: a grade of 0 is not relevant.")
    for name, values in (("text", text), ("video", video)):
        if getattr(values, "side", name) != name:
            raise EvaluationError(f"{name}= is given {values!r}: rows of the other side. Swap text= and video=.")
    given = _given(text, video, scores, similarity)
    if (video_of_caption is None) == (relevance is None):
        raise EvaluationError(_FORMS)
    alone = scores is not None and not isinstance(given, tuple) and relevance is not None
    name, owners = ("video_of_caption", video_of_caption) if relevance is None else ("relevance", relevance)
    if scores is None:
        refuse_other_labels(text, owners, names=("text", name))
        refuse_other_labels(video, owners, names=("video", name), axes=(0, 1))
    else:
        refuse_other_labels(scores, owners, names=("scores", name))
        refuse_other_labels(scores, owners, names=("scores", name), axes=(1, 1))
    n_captions, n_videos = (len(given[0]), len(given[1])) if isinstance(given, tuple) else given.shape
    what = ("query", "item") if alone else ("caption", "video")
    judged = judged_pairs(owners, n_captions, n_videos, name=name, what=what, relevant_from=relevant_from)
    if v2t != "best" and (not isinstance(given, tuple) or judged.grade is not None):
        needs = "relevance of yes or no, not grades" if isinstance(given, tuple) else "embeddings, not scores"
        raise EvaluationError(f"v2t={v2t!r} needs {needs}.")
    counts: Mapping[Direction, PairCounts]
    pairs = judged.query, judged.item
    if isinstance(given, tuple):
        options = {
            "similarity": similarity,
            "return_hard_negatives": return_hard_negatives,
            "memory": memory,
            "device": device,
        }
        counts = _count_embeddings(pairs, v2t, directions, options, text=given[0], video=given[1])
    else:
        counts = count_scores(
            given,
            *pairs,
            directions=["t2v"] if alone else directions,
            return_hard_negatives=return_hard_negatives,
            memory=memory,
        )
    relevant: dict[str, PairCounts] = {}
    gains: dict[str, Gains | None] = {}
    for direction in DIRECTIONS:
        if direction in counts:
            named = "retrieval" if alone else direction
            relevant[named], gains[named] = relevant_counts(
                counts[direction], judged, direction, gain=gain, return_hard_negatives=return_hard_negatives
            )
    query, item = judged.pairs
    return result(
        relevant,
        (query, item),
        {"items": n_videos} if alone else {"captions": n_captions, "videos": n_videos},
        ks=ks,
        ties=ties,
        similarity=similarity if isinstance(given, tuple) else _name(given),
        v2t=v2t,
        return_hard_negatives=return_hard_negatives,
        gains=gains,
    )


def _directions(directions: Any) -> tuple[Direction, ...]:
    """The directions that are named, each once."""
    named = [directions] if isinstance(directions, str) else directions
    if not isinstance(named, Iterable) or isinstance(named, Mapping) or getattr(named, "ndim", 1) != 1:
        raise EvaluationError(f"directions is {named!r:.60}; t2v, v2t or both are expected.")
    known = tuple(dict.fromkeys(one_of("direction", direction, DIRECTIONS) for direction in named))
    if not known:
        raise EvaluationError("directions is empty: it must name t2v, v2t or both.")
    return known


def _given(text: Any, video: Any, scores: Any, similarity: str) -> tuple[Source, Source] | Scorer:
    """Embeddings of both sides, or what scores pairs."""
    if scores is None:
        if text is None or video is None:
            raise EvaluationError(_FORMS)
        return (
            MaxSim(text=text, video=video) if similarity == "maxsim" else (Source(text, "text"), Source(video, "video"))
        )
    if text is not None or video is not None:
        raise EvaluationError(_FORMS)
    scorer: Scorer = scores if hasattr(scores, "block") else Matrix(scores)
    return scorer


def _name(scorer: Scorer) -> str:
    return str(getattr(scorer, "name", type(scorer).__name__))


def _count_embeddings(
    pairs: tuple[IntArray, IntArray],
    v2t: V2T,
    directions: Sequence[Direction],
    options: Mapping[str, Any],
    *,
    text: Source,
    video: Source,
) -> dict[Direction, PairCounts]:
    if text.shape[1] != video.shape[1]:
        raise EvaluationError(
            f"text is {text.shape[1]} wide and video {video.shape[1]}: they share no space. Align them, or zero-pad "
            "the narrower one with pad_to_same_width."
        )
    if v2t == "group_max":
        return group_max(pairs, directions, options, text=text, video=video)
    if v2t == "best":
        return count_pairs(*pairs, text=text, video=video, directions=directions, **options)
    counts: dict[Direction, PairCounts] = {}
    if "t2v" in directions:
        counts |= count_pairs(*pairs, text=text, video=video, directions=["t2v"], **options)
    if "v2t" in directions:
        counts["v2t"] = first_captions(pairs, options, text=text, video=video)
    return counts
