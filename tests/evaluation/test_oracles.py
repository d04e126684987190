"""Random problems against public oracles, and against themselves in other dtypes, orders, blocks and on a torch device.

`make soak` tries 100 times as many.
"""

import os

import numpy as np
import pytest
import pytrec_eval
import torch
from scipy.sparse import coo_array, csr_matrix
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, ndcg_score

from reelstore.evaluation import evaluate

SOAK = bool(os.environ.get("REELSTORE_SOAK"))
PROBLEMS = range(4000 if SOAK else 40)
KS = (1, 2, 3, 5, 10, 100)
MEASURES = {
    "map",
    "recip_rank",
    "success.1,2,3,5,10,100",
    "recall.1,2,3,5,10,100",
    "ndcg_cut.100",
}


def whole_numbers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sides of few whole numbers, so that dot products are exact everywhere and many tie; and what is right: from
    nothing to everything, some queries have none."""
    n_captions, n_videos, dim = rng.integers(1, 30), rng.integers(1, 25), rng.integers(1, 6)
    reach = int(rng.integers(1, 5))
    text = rng.integers(-reach, reach + 1, size=(n_captions, dim)).astype(np.float32)
    video = rng.integers(-reach, reach + 1, size=(n_videos, dim)).astype(np.float32)
    if rng.random() < 0.2:
        video[:] = video[0]
    if rng.random() < 0.2:
        text *= -0.0
    right = rng.random((n_captions, n_videos)) < rng.choice([0.02, 0.2, 0.7])
    if rng.random() < 0.5:  # one video a caption, uneven
        right[:] = False
        right[np.arange(n_captions), rng.integers(max(1, n_videos // 2), size=n_captions)] = True
    right[rng.integers(n_captions), rng.integers(n_videos)] = True
    return text, video, right


def trec(scores: np.ndarray, right: np.ndarray, *, ties: str) -> dict[str, float]:
    """trec_eval ranks equal scores by name, from z to a: names decide who wins a tie."""
    judged, run = {}, {}
    for query in np.flatnonzero(right.any(axis=1)).tolist():
        favoured = right[query] if ties == "optimistic" else ~right[query]
        names = [f"{'b' if favoured[item] else 'a'}{item}" for item in range(scores.shape[1])]
        judged[str(query)] = {names[item]: 1 for item in np.flatnonzero(right[query]).tolist()}
        run[str(query)] = dict(zip(names, scores[query].tolist(), strict=True))
    found = pytrec_eval.RelevanceEvaluator(judged, MEASURES).evaluate(run).values()
    return {name: float(np.mean([one[name] for one in found])) for name in next(iter(found))}


def same(ours: dict[str, float], trecs: dict[str, float]) -> None:
    one_relevant = "R@01" in ours
    assert ours["MRR"] == pytest.approx(trecs["recip_rank"], abs=1e-9)
    assert ours["nDCG@100"] == pytest.approx(trecs["ndcg_cut_100"], abs=1e-9)
    assert one_relevant or ours["MAP"] == pytest.approx(trecs["map"], abs=1e-9)
    for k in KS:
        assert ours[f"{'R' if one_relevant else 'hit'}@{k:02d}"] == pytest.approx(trecs[f"success_{k}"], abs=1e-9)
        assert one_relevant or ours[f"recall@{k:02d}"] == pytest.approx(trecs[f"recall_{k}"], abs=1e-9)


@pytest.mark.parametrize("block", range(8))
def test_trec_eval_scikit_learn_and_scipy_agree_on_ties(block):
    """trec_eval on the bounds; scikit-learn and scipy, which average over ties as well, on what is expected."""
    for seed in [number for number in PROBLEMS if number % 8 == block]:
        text, video, right = whole_numbers(np.random.default_rng(seed))
        scores = text @ video.T
        found = {
            ties: evaluate(text=text, video=video, relevance=right, similarity="dot", ks=KS, ties=ties)
            for ties in ("expected", "optimistic", "pessimistic")
        }
        for direction, matrix, of in (("t2v", scores, right), ("v2t", scores.T, right.T)):
            asked = of.any(axis=1)
            for ties in ("optimistic", "pessimistic"):
                same(found[ties].metrics[direction], trec(matrix, of, ties=ties))
            expected = found["expected"].metrics[direction]
            if matrix.shape[1] > 1:
                assert expected["nDCG@100"] == pytest.approx(ndcg_score(of[asked], matrix[asked], k=100), abs=1e-9)
            pessimistic = found["pessimistic"].metrics[direction]
            # It ranks an item below all of its equals, right ones too: the same where one item is right.
            if of[asked].sum(axis=1).max() == 1:
                # scipy 1.18 ranks float32 in float32.
                average = label_ranking_average_precision_score(of[asked], matrix[asked].astype(np.float64))
                assert pessimistic["MRR"] == pytest.approx(average, abs=1e-9)
                ranks = rankdata(-matrix.astype(np.float64), axis=1)[of]
                assert found["expected"].directions[direction].rank.tolist() == pytest.approx(ranks.tolist(), abs=1e-9)
                assert expected["MeanR"] == pytest.approx(ranks.mean(), abs=1e-9)
            ready = evaluate(scores=matrix, relevance=csr_matrix(of), ks=KS)
            for name in ("query", "rank", "greater", "equal", "n_relevant", "tied"):
                of_ready, of_pairs = ready.directions["retrieval"], found["expected"].directions[direction]
                assert getattr(of_ready, name).tolist() == getattr(of_pairs, name).tolist()


def real_numbers(rng: np.random.Generator, similarity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both sides as drawn, nothing ties; (n_captions, n_videos) scores by plain numpy; and what is right."""
    n_captions, n_videos, dim = rng.integers(2, 60), rng.integers(2, 40), rng.integers(2, 70)
    video = rng.normal(size=(n_videos, dim)) * np.exp(rng.normal(size=(n_videos, 1)))
    owner = rng.integers(n_videos, size=n_captions)
    text = video[owner] + rng.choice([0.5, 3.0]) * rng.normal(size=(n_captions, dim))
    right = owner[:, None] == np.arange(n_videos)
    if rng.random() < 0.4:
        right |= rng.random(right.shape) < 0.1
    if similarity == "euclidean":
        return text, video, -np.linalg.norm(text[:, None] - video[None], axis=2), right
    scores = text @ video.T
    if similarity == "cosine":
        scores /= np.outer(np.linalg.norm(text, axis=1), np.linalg.norm(video, axis=1))
    return text, video, scores, right


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_trec_eval_and_scikit_learn_agree_where_nothing_ties(similarity):
    for seed in PROBLEMS[:: 1 if SOAK else 3]:
        text, video, scores, right = real_numbers(np.random.default_rng(seed), similarity)
        found = evaluate(text=text, video=video, relevance=right, similarity=similarity, ks=KS)
        for direction, matrix, of in (("t2v", scores, right), ("v2t", scores.T, right.T)):
            # trec_eval compares in single precision: it gets places instead.
            same(found.metrics[direction], trec(rankdata(matrix, axis=1), of, ties="optimistic"))
            if direction == "v2t":
                asked = of.any(axis=1)
                average = [average_precision_score(r, s) for r, s in zip(of[asked], matrix[asked], strict=True)]
                assert found.metrics[direction]["MAP"] == pytest.approx(np.mean(average), abs=1e-9)


def awkward(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in float16, of values at which arithmetic may go wrong: subnormal, huge, zero of either sign, equal
    rows, multiples, all alike."""
    n_captions, n_videos, dim = rng.integers(1, 90), rng.integers(1, 150), rng.integers(1, 50)
    text, video = rng.normal(size=(n_captions, dim)), rng.normal(size=(n_videos, dim))
    kind = rng.integers(7)
    if kind == 1:
        text, video = text * 10.0 ** rng.integers(-7, 4, size=(n_captions, 1)), video * 1e-7
    if kind == 2:
        centre = rng.normal(size=dim)
        text, video = centre + 1e-2 * text, centre + 1e-2 * video
    if kind == 3:
        text, video = np.sign(text), rng.integers(-2, 3, size=video.shape).astype(float)
    if kind == 4:
        video[:] = video[0]
    if kind == 5:
        video[::2], text[::3] = video[0] * 2, -0.0
    if kind == 6:
        video = np.repeat(video[: -(-n_videos // 3)], 3, axis=0)[:n_videos]
        text = np.where(rng.random(text.shape) < 0.7, 0.0, text)
    return text.astype(np.float16), video.astype(np.float16)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_the_same_values_give_the_same_ranks_in_any_dtype_order_block_and_on_a_device(similarity):
    for seed in PROBLEMS[:: 1 if SOAK else 3]:
        rng = np.random.default_rng(seed)
        text, video = awkward(rng)
        owner = rng.integers(-1, len(video), size=len(text))
        owner[0] = 0
        plain = evaluate(
            text=text, video=video, video_of_caption=owner, similarity=similarity, return_hard_negatives=True
        )
        captions, videos = rng.permutation(len(text)), rng.permutation(len(video))
        place = np.r_[np.argsort(videos), -1]
        brain = [torch.from_numpy(side).bfloat16() for side in (text, video)]
        for change, found in {
            "float32": evaluate(
                text=text.astype(np.float32),
                video=video.astype(np.float32),
                video_of_caption=owner,
                similarity=similarity,
            ),
            "float64": evaluate(
                text=text.astype(np.float64),
                video=video.astype(np.float64),
                video_of_caption=owner,
                similarity=similarity,
            ),
            "mixed": evaluate(
                text=torch.from_numpy(text),
                video=video.astype(np.float64),
                video_of_caption=owner,
                similarity=similarity,
            ),
            "memory": evaluate(
                text=text,
                video=video,
                video_of_caption=owner,
                similarity=similarity,
                memory=int(2 ** rng.integers(0, 20)),
            ),
            "device": evaluate(text=text, video=video, video_of_caption=owner, similarity=similarity, device="cpu"),
            "rows": evaluate(
                text=text[captions], video=video[videos], video_of_caption=place[owner[captions]], similarity=similarity
            ),
        }.items():
            assert found.metrics == plain.metrics, (seed, change)
        moved = evaluate(
            text=text[captions],
            video=video,
            video_of_caption=owner[captions],
            similarity=similarity,
            return_hard_negatives=True,
        ).t2v
        order = np.argsort(captions[moved.query])
        for name in ("greater", "equal", "hardest_negative", "gap"):
            assert getattr(moved, name)[order].tolist() == getattr(plain.t2v, name).tolist(), (seed, name)
        wide = [side.double().numpy() for side in brain]
        if all(np.isfinite(side).all() for side in wide):
            of_brain = evaluate(text=brain[0], video=brain[1], video_of_caption=owner, similarity=similarity).metrics
            assert (
                of_brain == evaluate(text=wide[0], video=wide[1], video_of_caption=owner, similarity=similarity).metrics
            ), seed


@pytest.mark.parametrize("scale", [2.0**-1060, 1e-310, 1e-160, 1e160, 2.0**1010])
def test_lengths_at_the_ends_of_float64_leave_a_cosine_s_ranks_alone(scale):
    rng = np.random.default_rng(0)
    video = rng.integers(-8, 9, size=(50, 12)) / 8  # whole multiples of an eighth: scaling rounds nothing
    owner = rng.integers(50, size=120)
    text = video[owner] + rng.integers(-8, 9, size=(120, 12)) / 8
    scale = 2.0 ** np.round(np.log2(scale))
    plain = evaluate(text=text, video=video, video_of_caption=owner, return_hard_negatives=True)
    for found in (
        evaluate(text=text * scale, video=video, video_of_caption=owner, return_hard_negatives=True),
        evaluate(text=text, video=video * scale, video_of_caption=owner, return_hard_negatives=True),
    ):
        assert found.metrics == plain.metrics
        assert found.t2v.gap.tolist() == plain.t2v.gap.tolist()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_every_form_of_sparse_relevance_is_the_dense_one():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    right = rng.random((20, 30)) < 0.1
    right[3] = False
    want = evaluate(scores=scores, relevance=right).metrics
    coo = coo_array(right)
    twice = coo_array(
        (np.r_[coo.data, coo.data].astype(int), (np.r_[coo.row, coo.row], np.r_[coo.col, coo.col])), coo.shape
    )
    dense = torch.tensor(right)
    compressed = dense.float().to_sparse_csr()
    forms = [csr_matrix(right), coo, twice, csr_matrix(right.astype(float)), dense, dense.to_sparse(), compressed]
    for form in (*forms, right.astype(int), right.tolist()):
        assert evaluate(scores=scores, relevance=form).metrics == want
    assert want["health"]["no_relevant"] >= 1
    stored_zero = csr_matrix(right.astype(float))
    stored_zero.data[0] = 0
    assert evaluate(scores=scores, relevance=stored_zero).metrics != want
