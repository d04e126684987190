"""Two sets of embeddings, or a matrix of scores, and who belongs to whom -> metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation.relevance import right_pairs
from reelstore.evaluation.result import V2T, Evaluation, result
from reelstore.evaluation.ties import Ties
from reelstore.evaluation.v2t import first_captions, group_max
from reelstore.ranking import (
    DIRECTIONS,
    MEMORY,
    Direction,
    Ints,
    Matrix,
    MaxSim,
    PairCounts,
    Scorer,
    Similarity,
    count_pairs,
    count_scores,
)
from reelstore.ranking.sources import Source

_FORMS = (
    "evaluate takes text, video and video_of_caption (or relevance), or scores and relevance (or video_of_caption); "
    "not a mixture."
)


def evaluate(
    text: Any = None,
    video: Any = None,
    video_of_caption: Any = None,
    *,
    scores: Any = None,
    relevance: Any = None,
    similarity: Similarity | Literal["maxsim"] = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
    v2t: V2T = "best",
    directions: Sequence[Direction] = DIRECTIONS,
    answers: bool = False,
    memory: int = MEMORY,
    device: str | None = None,
) -> Evaluation:
    """Retrieval metrics of two sets of embeddings, in both directions from one product, or of a matrix of scores.

    Either `text`, `video` and `video_of_caption` (or `relevance`); or `scores` and `relevance`, which is one direction
    of whatever queries and items, or `scores` and `video_of_caption`, which is captions and videos in both.

    Queries without a right item (a video without captions, a caption of no video) are left out of the means and counted
    in `health`; they stay among the items.

    Args:
        text: (n_captions, dim) array, tensor, memory-mapped file, or rows of a store: whatever can be read by blocks.
        video: (n_videos, dim), of the same width.
        video_of_caption: (n_captions,) int, row of each caption's video; -1 where it has none.
        scores: (n_queries, n_items), higher is closer, compared as they are; infinities are in order. Or a `Scorer`,
            such as `MaxSim` on tokens.
        relevance: true where an item is right, (n_captions, n_videos) or (n_queries, n_items): an array, a tensor or
            sparse. A query may have several right items. For scores also (n_queries,) int as `video_of_caption`.
        similarity: `cosine`, `dot` or `euclidean`. `maxsim` is `scores=MaxSim(text, video)`, where `text` and `video`
            are tokens.
        ks: cut-offs.
        ties: `expected` (the mean of each metric over all orders of equal scores), `optimistic`, `pessimistic`.
        v2t: `best`: all captions are items, a video's own are right, and its rank is that of the best of them.
            `group_max`: the videos that have captions are items, each with the score of its best caption. `first`: only
            the first caption of each video is an item.
        directions: `t2v`, `v2t` or both.
        answers: find each query's best wrong item too, and the gap to it.
        memory: bytes for blocks of rows and scores; changes speed, no number.
        device: torch device of the products; by default the processor, or where the tensors are.

    Raises:
        NonFiniteError: a row holds NaN or infinity, or a score is NaN.
        EvaluationError: shapes don't fit together, or no query has a right item.

    Example:
        >>> text = np.array([[1., 0.], [0., 1.], [1., 1.]])
        >>> video = np.array([[1., 0.], [0., 1.]])
        >>> found = evaluate(text, video, [0, 1, 1], ks=(1,))
        >>> found.metrics["t2v"]["R@01"]      # right, right, and a tie between two videos
        0.8333333333333334
        >>> found.chance["t2v"]["R@01"]
        0.5
        >>> evaluate(scores=[[.9, .1], [.8, .8]], relevance=[0, 1], ks=(1,)).metrics["retrieval"]["hit@01"]
        0.75
    """
    _check_options(similarity, ks=ks, ties=ties, v2t=v2t, directions=directions)
    given = _given(text, video, scores, similarity)
    if (video_of_caption is None) == (relevance is None):
        raise EvaluationError(_FORMS)
    if scores is not None and not isinstance(given, tuple) and relevance is not None:
        return _retrieval(given, relevance, ks=ks, ties=ties, answers=answers, memory=memory)
    n_captions, n_videos = (len(given[0]), len(given[1])) if isinstance(given, tuple) else given.shape
    name, owners = ("video_of_caption", video_of_caption) if relevance is None else ("relevance", relevance)
    pairs = right_pairs(owners, n_captions, n_videos, name=name, what=("caption", "video"))
    if not len(pairs[0]):
        raise EvaluationError(f"None of the {n_captions} captions has a video among the {n_videos}: nothing to rank.")
    if isinstance(given, tuple):
        options = {"similarity": similarity, "answers": answers, "memory": memory, "device": device}
        counts = _count_embeddings(*given, pairs, v2t, directions, options)
    elif v2t == "best":
        counts = count_scores(given, *pairs, directions=directions, answers=answers, memory=memory)
    else:
        raise EvaluationError(f"The v2t protocol {v2t!r} needs embeddings, not scores.")
    return result(
        {direction: counts[direction] for direction in DIRECTIONS if direction in counts},
        pairs,
        {"captions": n_captions, "videos": n_videos},
        ks=ks,
        ties=ties,
        similarity=similarity if isinstance(given, tuple) else _name(given),
        v2t=v2t,
        answers=answers,
    )


def _check_options(similarity: str, *, ks: Sequence[int], ties: str, v2t: str, directions: Sequence[str]) -> None:
    for kind, value, known in (
        ("similarity", similarity, (*get_args(Similarity), "maxsim")),
        ("tie rule", ties, get_args(Ties)),
        ("v2t protocol", v2t, get_args(V2T)),
        *(("direction", direction, DIRECTIONS) for direction in directions),
    ):
        if value not in known:
            raise UnknownNameError(kind, value, known)
    if not directions:
        raise EvaluationError("directions is empty: it must name t2v, v2t or both.")
    if not ks or min(ks) < 1:
        raise EvaluationError(f"ks must be positive cut-offs, not {list(ks)}.")


def _given(text: Any, video: Any, scores: Any, similarity: str) -> tuple[Source, Source] | Scorer:
    """Embeddings of both sides, or what scores pairs."""
    if scores is None:
        if text is None or video is None:
            raise EvaluationError(_FORMS)
        return MaxSim(text, video) if similarity == "maxsim" else (Source(text, "text"), Source(video, "video"))
    if text is not None or video is not None:
        raise EvaluationError(_FORMS)
    scorer: Scorer = scores if hasattr(scores, "block") else Matrix(scores)
    return scorer


def _name(scorer: Scorer) -> str:
    return str(getattr(scorer, "name", type(scorer).__name__))


def _count_embeddings(
    text: Source,
    video: Source,
    pairs: tuple[Ints, Ints],
    v2t: V2T,
    directions: Sequence[Direction],
    options: Mapping[str, Any],
) -> dict[Direction, PairCounts]:
    if text.shape[1] != video.shape[1]:
        raise EvaluationError(
            f"text is {text.shape[1]} wide and video {video.shape[1]}: they share no space. Align them, or zero-pad "
            "the narrower one with pad_to_same_width."
        )
    if v2t == "group_max":
        return group_max(text, video, pairs, directions, options)
    if v2t == "best":
        return count_pairs(text, video, *pairs, directions=directions, **options)
    counts: dict[Direction, PairCounts] = {}
    if "t2v" in directions:
        counts |= count_pairs(text, video, *pairs, directions=["t2v"], **options)
    if "v2t" in directions:
        counts["v2t"] = first_captions(text, video, pairs, options)
    return counts


def _retrieval(
    scorer: Scorer, relevance: Any, *, ks: Sequence[int], ties: Ties, answers: bool, memory: int
) -> Evaluation:
    n_queries, n_items = scorer.shape
    query, item = right_pairs(relevance, n_queries, n_items, name="relevance", what=("query", "item"))
    if not len(query):
        raise EvaluationError(f"None of the {n_queries} queries has a right item among the {n_items}: nothing to rank.")
    counts = count_scores(scorer, query, item, directions=["t2v"], answers=answers, memory=memory)["t2v"]
    return result(
        {"retrieval": counts},
        (query, query),
        {"items": n_items},
        ks=ks,
        ties=ties,
        similarity=_name(scorer),
        v2t="best",
        answers=answers,
    )
