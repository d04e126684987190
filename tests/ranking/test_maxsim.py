"""Late interaction: scores as they are defined, counts the same however tokens are cut."""

import numpy as np
import pytest
import torch

from reelstore.errors import EvaluationError, NonFiniteError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.ranking import MaxSim, count_scores
from reelstore.ranking.scorers import Matrix

KINDS = ["plain", "signs", "constant captions", "collapsed", "zeros and far norms", "repeated videos"]


def drawn(kind: str, dtype: type) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Ragged tokens of both sides in which one kind of thing goes wrong, and what is right."""
    rng = np.random.default_rng(KINDS.index(kind))
    dim, n_captions, n_videos = int(rng.integers(2, 40)), int(rng.integers(8, 25)), int(rng.integers(5, 15))
    text = [rng.normal(size=(rng.integers(1, 9), dim)) for _ in range(n_captions)]
    video = [rng.normal(size=(rng.integers(1, 7), dim)) for _ in range(n_videos)]
    if kind == "signs":
        text, video = [np.sign(rows) for rows in text], [np.sign(rows) for rows in video]
    if kind == "constant captions":
        text = [text[0]] * n_captions
    if kind == "collapsed":
        centre = rng.normal(size=dim)
        text, video = [centre + 1e-7 * rows for rows in text], [centre + 1e-7 * rows for rows in video]
    if kind == "zeros and far norms":
        text = [-0.0 * rows if rng.random() < 0.3 else rows for rows in text]
        video = [rows * 10.0 ** rng.integers(-12, 12) for rows in video]
    if kind == "repeated videos":
        video[::2] = [video[0]] * len(video[::2])
    right = rng.random((n_captions, n_videos)) < 0.2
    right[0, 0] = True
    return [rows.astype(dtype) for rows in text], [rows.astype(dtype) for rows in video], right


def by_hand(text: list[np.ndarray], video: list[np.ndarray], similarity: str, over: str, total: str) -> np.ndarray:
    """(n_captions, n_videos), a pair at a time."""
    scores = np.empty((len(text), len(video)))
    reduce = np.mean if total == "mean" else np.sum
    for at in np.ndindex(scores.shape):
        left, right = text[at[0]].astype(np.float64), video[at[1]].astype(np.float64)
        tokens = left @ right.T
        if similarity == "cosine":
            norms = [np.linalg.norm(side, axis=1) for side in (left, right)]
            tokens /= np.outer(*(np.where(norm, norm, 1) for norm in norms))
        of_text, of_video = reduce(tokens.max(axis=1)), reduce(tokens.max(axis=0))
        scores[at] = {"text": of_text, "video": of_video, "both": (of_text + of_video) / 2}[over]
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_defined_scores_at_every_level_and_memory(kind):
    for dtype in (np.float32, np.float64):
        text, video, right = drawn(kind, dtype)
        for options in (
            {"similarity": "cosine", "over": "text", "total": "mean"},
            {"similarity": "dot", "over": "video", "total": "sum"},
            {"similarity": "cosine", "over": "both", "total": "sum"},
        ):
            scorer = MaxSim(text=text, video=video, **options)
            scores = scorer.block(slice(0, len(text)), slice(0, len(video)))
            want = by_hand(text, video, **options)
            np.testing.assert_allclose(scores, want, rtol=1e-12, atol=1e-12 * np.abs(want).max())
            expected = count_scores(Matrix(scores), *np.nonzero(right), return_hard_negatives=True)
            for memory, first in ((2**14, "float32"), (2**30, "float32"), (2**30, "float64"), (2**30, "exact")):
                found = scorer.count(*np.nonzero(right), return_hard_negatives=True, memory=memory, first=first)
                for direction, counts in expected.items():
                    for name, values in vars(counts).items():
                        np.testing.assert_array_equal(values, getattr(found[direction], name), str((memory, first)))


def test_a_block_s_scores_are_a_piece_of_all():
    text, video, _ = drawn("plain", np.float32)
    scorer = MaxSim(text=text, video=video)
    whole = scorer.block(slice(0, None), slice(0, None))
    assert np.array_equal(scorer.block(slice(2, 5), slice(3, 4)), whole[2:5, 3:4])


def test_tokens_come_as_lists_as_values_with_offsets_as_one_array_and_as_tensors():
    text, video, right = drawn("plain", np.float16)
    flat = np.concatenate(text), np.r_[0, np.cumsum([len(rows) for rows in text])]
    dense = np.stack([rows[:1].repeat(3, axis=0) for rows in video])
    want = evaluate(scores=MaxSim(text=text, video=list(dense)), relevance=right).metrics
    for left, right_side in ((flat, dense), (text, torch.tensor(dense)), ([torch.tensor(t) for t in text], dense)):
        assert evaluate(scores=MaxSim(text=left, video=right_side), relevance=right).metrics == want


def test_evaluate_takes_it_by_name_in_both_directions():
    text, video, right = drawn("plain", np.float32)
    found = evaluate(text=text, video=video, relevance=right, similarity="maxsim", return_hard_negatives=True)
    scores = by_hand(text, video, "cosine", "text", "mean")
    for direction, matrix, of in (("t2v", scores, right), ("v2t", scores.T, right.T)):
        asked = found.directions[direction].query
        assert asked.tolist() == np.flatnonzero(of.any(axis=1)).tolist()
        wrong = np.where(of, -np.inf, matrix)[asked]
        best = np.where(of, matrix, -np.inf)[asked].max(axis=1)
        assert found.directions[direction].greater.tolist() == (wrong > best[:, None]).sum(axis=1).tolist()
        assert found.directions[direction].hardest_negative.tolist() == wrong.argmax(axis=1).tolist()
    assert found.similarity == "maxsim: mean over text tokens of the highest cosine"


def test_what_cannot_be_scored_is_named():
    text, video, right = drawn("plain", np.float32)
    with pytest.raises(EvaluationError, match=r"video: 1 of .* items have no tokens: 1"):
        MaxSim(text=text, video=[video[0], video[0][:0], video[2]])
    with pytest.raises(EvaluationError, match="share no space"):
        MaxSim(text=text, video=[np.ones((1, text[0].shape[1] + 1))])
    with pytest.raises(UnknownNameError, match="both, text, video"):
        MaxSim(text=text, video=video, over="words")
    text[3] = text[3].copy()
    text[3][-1, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"text: 1 of .* items .*: 3"):
        evaluate(scores=MaxSim(text=text, video=video), relevance=right)
    huge = [np.full((1, 2), 1e200)]
    with pytest.raises(NonFiniteError, match="overflows"):
        evaluate(scores=MaxSim(text=huge, video=huge, similarity="dot"), relevance=[0])
