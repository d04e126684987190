"""`evaluate`, from outside: hand-checked matrices, chance, ties against every order there is, public oracles."""

from itertools import permutations, product

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_matrix
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, ndcg_score

from reelstore.errors import EvaluationError, NonFiniteError, UnknownNameError
from reelstore.evaluation import evaluate
from reelstore.ranking import score_matrix


def from_scores(scores: np.ndarray, owner: list[int], **options):
    """Evaluate a ready score matrix (n_captions, n_videos): unit vectors as videos, dot products."""
    return evaluate(
        text=np.asarray(scores, dtype=float),
        video=np.eye(np.shape(scores)[1]),
        video_of_caption=owner,
        similarity="dot",
        **options,
    )


def orders(scores: np.ndarray) -> list[tuple[int, ...]]:
    """Every ranking that puts no lower score above a higher one."""
    levels = [np.flatnonzero(scores == level).tolist() for level in sorted(set(scores.tolist()), reverse=True)]
    return [sum(parts, ()) for parts in product(*(list(permutations(level)) for level in levels))]


def metrics_of_order(order: tuple[int, ...], right: set[int], ks: tuple[int, ...]) -> dict[str, float]:
    """One query, one ranking, straight from the definitions."""
    ranks = [place for place, item in enumerate(order, start=1) if item in right]
    found = {"MRR": 1 / ranks[0], "MeanR": float(ranks[0])}
    found["MAP"] = float(np.mean([(number + 1) / rank for number, rank in enumerate(ranks)]))
    for k in ks:
        found[f"hit@{k:02d}"] = float(ranks[0] <= k)
        found[f"recall@{k:02d}"] = float(np.mean([rank <= k for rank in ranks]))
    ideal = sum(1 / np.log2(1 + rank) for rank in range(1, min(len(ranks), max(ks)) + 1))
    found[f"nDCG@{max(ks):02d}"] = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= max(ks)) / ideal
    return found


def brute_force(scores: np.ndarray, owner: list[int], ks: tuple[int, ...]) -> dict[str, dict[str, list[float]]]:
    """direction -> metric -> its (least, mean, greatest) over all orders of equal scores."""
    sides = {
        "t2v": [(row, {of}) for row, of in zip(scores, owner, strict=True)],
        "v2t": [(scores[:, v], {c for c, of in enumerate(owner) if of == v}) for v in sorted(set(owner))],
    }
    found = {}
    for direction, queries in sides.items():
        per_query = [[metrics_of_order(order, right, ks) for order in orders(row)] for row, right in queries]
        found[direction] = {
            name: [
                float(np.mean([reduce([m[name] for m in one]) for one in per_query])) for reduce in (min, np.mean, max)
            ]
            for name in per_query[0][0]
        }
    return found


@st.composite
def tied_problems(draw):
    n_captions, n_videos = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    scores = [[draw(st.integers(0, 2)) for _ in range(n_videos)] for _ in range(n_captions)]
    owner = [draw(st.integers(0, n_videos - 1)) for _ in range(n_captions)]
    return np.array(scores, dtype=float), owner


@settings(max_examples=60, deadline=None)
@given(tied_problems())
def test_expected_is_the_mean_over_every_order_of_equal_scores(problem):
    scores, owner = problem
    ks = (1, 2, 3)
    by_hand, metrics = brute_force(scores, owner, ks), from_scores(scores, owner, ks=ks).metrics
    for k in ks:
        assert metrics["t2v"][f"R@{k:02d}"] == pytest.approx(by_hand["t2v"][f"hit@{k:02d}"][1])
    assert metrics["t2v"]["MRR"] == pytest.approx(by_hand["t2v"]["MRR"][1])
    assert metrics["t2v"]["MeanR"] == pytest.approx(by_hand["t2v"]["MeanR"][1])
    for name in set(metrics["v2t"]) - {"MedR"}:
        assert metrics["v2t"][name] == pytest.approx(by_hand["v2t"][name][1])


@settings(max_examples=30, deadline=None)
@given(tied_problems())
def test_bounds_are_the_best_and_the_worst_order(problem):
    scores, owner = problem
    by_hand = brute_force(scores, owner, (1, 2))
    for ties, place in (("optimistic", 2), ("pessimistic", 0)):
        found = from_scores(scores, owner, ks=(1, 2), ties=ties)
        assert {"t2v": found.metrics["t2v"], "v2t": found.metrics["v2t"]} == found.bounds[ties]
        for name in set(found.metrics["v2t"]) - {"MedR"}:
            at = 2 - place if name == "MeanR" else place
            assert found.metrics["v2t"][name] == pytest.approx(by_hand["v2t"][name][at])
        assert found.metrics["t2v"]["MRR"] == pytest.approx(by_hand["t2v"]["MRR"][place])
        assert found.metrics["t2v"]["MeanR"] == pytest.approx(by_hand["t2v"]["MeanR"][2 - place])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_expected_median_is_the_mean_median_over_every_order(data):
    n_videos, n_captions = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    scores = np.array([[data.draw(st.integers(0, 1)) for _ in range(n_videos)] for _ in range(n_captions)], dtype=float)
    owner = [data.draw(st.integers(0, n_videos - 1)) for _ in range(n_captions)]
    ranks = [[order.index(of) + 1 for order in orders(row)] for row, of in zip(scores, owner, strict=True)]
    by_hand = np.mean([np.median(drawn) for drawn in product(*ranks)])
    assert from_scores(scores, owner).metrics["t2v"]["MedR"] == pytest.approx(by_hand)


def test_a_matrix_small_enough_to_check_by_hand():
    found = from_scores(
        [[0.9, 0.1, 0.0], [0.8, 0.7, 0.0], [0.3, 0.2, 0.1]], [0, 1, 2], ks=(1, 2), return_hard_negatives=True
    )
    assert found.metrics["t2v"] == pytest.approx(
        {
            "R@01": 1 / 3,
            "R@02": 2 / 3,
            "nDCG@02": (1 + 1 / np.log2(3)) / 3,
            "MRR": (1 + 1 / 2 + 1 / 3) / 3,
            "MedR": 2.0,
            "MeanR": 2.0,
        }
    )
    # Video 0 ranks its caption 1st; video 1 has .7 against .1 and .2; video 2 has .1 against 0 and 0.
    assert found.metrics["v2t"]["MRR"] == 1.0
    assert found.t2v.rank.tolist() == [1, 2, 3]
    assert found.t2v.greater.tolist() == [0, 1, 2]
    assert found.t2v.hardest_negative.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.t2v.gap, [0.8, -0.1, -0.2])


def test_hit_and_recall_are_two_things_when_videos_have_uneven_captions():
    # Video 0 has three captions, ranked 1, 2 and 4; video 1 has one, ranked 2.
    found = from_scores([[0.9, 0.5], [0.8, 0.1], [0.1, 0.2], [0.2, 0.4]], [0, 0, 0, 1], ks=(1, 2, 10))
    assert found.metrics["v2t"] == pytest.approx(
        {
            "hit@01": 1 / 2,
            "hit@02": 1.0,
            "hit@10": 1.0,
            "recall@01": (1 / 3 + 0) / 2,
            "recall@02": (2 / 3 + 1) / 2,
            "recall@10": 1.0,
            "nDCG@10": ((1 + 1 / np.log2(3) + 1 / np.log2(5)) / (1 + 1 / np.log2(3) + 1 / np.log2(4)) + 1 / np.log2(3))
            / 2,
            "MRR": (1 + 1 / 2) / 2,
            "MeanR": 1.5,
            "MedR": 1.5,
            "MAP": ((1 + 1 + 3 / 4) / 3 + 1 / 2) / 2,
        }
    )


@pytest.mark.parametrize("which", ["text", "video", "both", "zeros"])
def test_a_tower_that_says_nothing_scores_chance_exactly(which):
    generator = np.random.default_rng(0)
    text, video = generator.normal(size=(2, 70, 8))
    owner = np.arange(70) % 23
    video = video[:23]
    constant = np.zeros(8) if which == "zeros" else generator.normal(size=8)
    if which in ("text", "both", "zeros"):
        text = np.tile(constant, (70, 1))
    if which in ("video", "both"):
        video = np.tile(constant, (23, 1))
    found = evaluate(text=text, video=video, video_of_caption=owner)
    # A constant text ties all captions of a video, a constant video all videos of a caption.
    if which != "text":
        assert found.metrics["t2v"] == found.chance["t2v"]
    if which != "video":
        assert found.metrics["v2t"] == found.chance["v2t"]
    assert found.metrics["health"]["tied_queries"] == {"text": 23, "video": 70, "both": 93, "zeros": 93}[which]


def test_chance_is_the_textbook_closed_form():
    chance = evaluate(
        text=np.ones((200, 2)), video=np.ones((100, 2)), video_of_caption=np.arange(200) // 2, ks=(1, 5, 10)
    ).chance
    assert chance["t2v"]["R@01"] == 0.01
    assert chance["t2v"]["MRR"] == pytest.approx(sum(1 / rank for rank in range(1, 101)) / 100, rel=1e-15)
    assert chance["t2v"]["MedR"] == pytest.approx(50.5)
    assert chance["t2v"]["MeanR"] == 50.5
    assert chance["v2t"]["recall@10"] == pytest.approx(10 / 200)
    assert chance["v2t"]["hit@10"] == pytest.approx(1 - (190 * 189) / (200 * 199))


def test_duplicated_videos_share_their_rank():
    text = np.eye(3)
    video = np.vstack([text, text[1]])
    found = evaluate(text=text, video=video, video_of_caption=[0, 1, 2], ks=(1, 2))
    assert found.metrics["t2v"]["R@01"] == pytest.approx(2.5 / 3)
    assert found.t2v.rank.tolist() == [1, 1.5, 1]
    assert found.bounds["optimistic"]["t2v"]["R@01"] == 1.0
    assert found.bounds["pessimistic"]["t2v"]["R@01"] == pytest.approx(2 / 3)


def test_queries_without_a_right_item_are_left_out_and_counted():
    text, video = np.eye(4)[:3], np.eye(4)
    found = evaluate(text=text, video=video, video_of_caption=[0, -1, 2])
    assert found.metrics["health"] == {
        "captions": 3,
        "videos": 4,
        "queries": 4,  # captions 0 and 2, videos 0 and 2
        "no_relevant": 3,  # caption 1, videos 1 and 3
        "tied_queries": 0,
    }
    assert found.t2v.query.tolist() == [0, 2]
    assert found.v2t.query.tolist() == [0, 2]


def test_a_cut_off_beyond_the_items_finds_everything():
    metrics = from_scores([[0.0, 1.0], [1.0, 0.0]], [0, 1], ks=(50,)).metrics
    assert metrics["t2v"]["R@50"] == metrics["v2t"]["hit@50"] == metrics["v2t"]["recall@50"] == 1.0


def random_problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    n_videos, n_captions = generator.integers(2, 15), generator.integers(20, 60)
    owner = np.r_[np.arange(n_videos), generator.integers(n_videos, size=n_captions - min(n_videos, n_captions))]
    text, video = generator.normal(size=(len(owner), 16)), generator.normal(size=(n_videos, 16))
    text += video[owner]
    scores = text @ video.T / np.linalg.norm(text, axis=1)[:, None] / np.linalg.norm(video, axis=1)
    return text, video, owner, scores


@pytest.mark.parametrize("seed", range(25))
def test_pytrec_eval_agrees_where_nothing_ties(seed):
    text, video, owner, scores = random_problem(seed)
    measures = {"map", "recip_rank", "success.1,5,10", "recall.1,5,10", "ndcg_cut.10"}
    metrics = evaluate(text=text, video=video, video_of_caption=owner).metrics
    for direction, matrix, relevant in (
        ("t2v", scores, owner[:, None] == np.arange(len(video))),
        ("v2t", scores.T, np.arange(len(video))[:, None] == owner),
    ):
        judged = {str(q): {str(i): 1 for i in np.flatnonzero(row)} for q, row in enumerate(relevant)}
        run = {str(q): {str(i): float(s) for i, s in enumerate(row)} for q, row in enumerate(matrix)}
        per_query = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run).values()
        mean = {name: np.mean([one[name] for one in per_query]) for name in next(iter(per_query))}
        ours = metrics[direction]
        assert ours["MRR"] == pytest.approx(mean["recip_rank"])
        assert ours["nDCG@10"] == pytest.approx(mean["ndcg_cut_10"])
        for k in (1, 5, 10):
            assert ours[f"R@{k:02d}" if direction == "t2v" else f"hit@{k:02d}"] == pytest.approx(mean[f"success_{k}"])
        if direction == "v2t":
            assert ours["MAP"] == pytest.approx(mean["map"])
            assert all(ours[f"recall@{k:02d}"] == pytest.approx(mean[f"recall_{k}"]) for k in (1, 5, 10))


@pytest.mark.parametrize("seed", range(25))
def test_scikit_learn_agrees_where_nothing_ties(seed):
    text, video, owner, scores = random_problem(seed + 100)
    metrics = evaluate(text=text, video=video, video_of_caption=owner).metrics
    relevant = owner[:, None] == np.arange(len(video))
    average = np.mean([average_precision_score(relevant[:, v], scores[:, v]) for v in range(len(video))])
    assert metrics["v2t"]["MAP"] == pytest.approx(average)
    assert metrics["t2v"]["MRR"] == pytest.approx(label_ranking_average_precision_score(relevant, scores))


def test_memory_changes_no_digit():
    text, video, owner, _ = random_problem(7)
    found = [
        evaluate(text=text.astype(np.float16), video=video.astype(np.float16), video_of_caption=owner, memory=2**n)
        for n in (0, 16, 30)
    ]
    assert found[0].metrics == found[1].metrics == found[2].metrics


def test_tensors_are_taken_as_they_are():
    text, video, owner, _ = random_problem(8)
    plain = evaluate(text=text, video=video, video_of_caption=owner).metrics
    assert (
        evaluate(
            text=torch.tensor(text, requires_grad=True), video=torch.tensor(video), video_of_caption=torch.tensor(owner)
        ).metrics
        == plain
    )
    brain = torch.tensor(text).bfloat16(), torch.tensor(video).bfloat16()
    assert (
        evaluate(text=brain[0], video=brain[1], video_of_caption=owner).metrics
        == evaluate(text=brain[0].double().numpy(), video=brain[1].double().numpy(), video_of_caption=owner).metrics
    )


def test_metrics_are_named_for_sorting_and_hold_plain_numbers():
    text, video, owner, _ = random_problem(9)
    metrics = evaluate(text=text, video=video, video_of_caption=owner, ks=(1, 5, 10)).metrics
    assert set(metrics) == {"t2v", "v2t", "health"}
    assert set(metrics["t2v"]) == {"R@01", "R@05", "R@10", "nDCG@10", "MRR", "MedR", "MeanR"}
    cut = {f"{m}@{k}" for m in ("hit", "recall") for k in ("01", "05", "10")}
    assert set(metrics["v2t"]) == {*cut, "nDCG@10", "MRR", "MAP", "MedR", "MeanR"}
    assert all(type(value) in (int, float) for side in metrics.values() for value in side.values())


@pytest.mark.parametrize("seed", range(25))
def test_scikit_learn_and_scipy_agree_on_tied_scores(seed):
    """Both average over the orders of equal scores as well: nDCG and ranks of a matrix of few distinct scores."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 5, size=(30, 40)).astype(np.float32)
    relevance = generator.random((30, 40)) < 0.1
    relevance[np.arange(30), generator.integers(40, size=30)] = True
    metrics = evaluate(scores=scores, relevance=relevance, ks=(10,)).metrics["retrieval"]
    assert metrics["nDCG@10"] == pytest.approx(ndcg_score(relevance, scores, k=10))
    one = np.zeros_like(relevance)
    one[np.arange(30), relevance.argmax(axis=1)] = True
    ranks = rankdata(-scores, axis=1)[one]
    found = evaluate(scores=scores, relevance=one, ks=(10,))
    assert found.directions["retrieval"].rank.tolist() == ranks.tolist()
    assert found.metrics["retrieval"]["MeanR"] == pytest.approx(ranks.mean())


def test_a_ready_matrix_scores_what_its_embeddings_do():
    text, video, owner, _ = random_problem(11)
    scores = score_matrix(text=text, video=video)
    right = owner[:, None] == np.arange(len(video))
    found = evaluate(text=text, video=video, video_of_caption=owner)
    for relevance in (owner, right, csr_matrix(right), coo_array(right), torch.tensor(right)):
        plain = evaluate(scores=scores, relevance=relevance)
        assert plain.directions["retrieval"].rank.tolist() == found.t2v.rank.tolist()
        assert plain.metrics["retrieval"]["hit@05"] == found.metrics["t2v"]["R@05"]
        assert plain.metrics["health"] == {
            "items": len(video), "queries": len(text), "no_relevant": 0, "tied_queries": 0,
        }  # fmt: skip
    assert evaluate(scores=torch.tensor(scores), relevance=owner).metrics == plain.metrics
    assert "retrieval MRR" in repr(plain)


def test_infinite_scores_are_in_order_and_nan_is_not():
    scores = np.array([[np.inf, 0.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    found = evaluate(scores=scores, relevance=[0, 2], ks=(1,), return_hard_negatives=True)
    assert found.directions["retrieval"].rank.tolist() == [1, 2]
    assert found.directions["retrieval"].hardest_negative.tolist() == [1, 0]
    scores[1, 1] = np.nan
    with pytest.raises(NonFiniteError, match="rows 0 to 1 hold NaN: 1"):
        evaluate(scores=scores, relevance=[0, 2])


def test_a_caption_may_describe_several_videos():
    text, video = np.eye(3), np.eye(3)
    relevance = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = evaluate(text=text, video=video, relevance=csr_matrix(relevance), similarity="dot", ks=(1, 2))
    # Caption 0 ranks video 0 first and ties on its other one with video 2; hit and recall part.
    assert found.metrics["t2v"]["hit@01"] == 1.0
    assert found.metrics["t2v"]["recall@01"] == (1 / 2 + 1) / 2
    assert found.metrics["t2v"]["recall@02"] == (3 / 4 + 1) / 2
    assert found.metrics["t2v"]["MAP"] == pytest.approx(((1 + (1 + 2 / 3) / 2) / 2 + 1) / 2)
    assert found.t2v.n_relevant.tolist() == [2, 1]
    assert found.metrics["health"]["no_relevant"] == 2  # caption 2 and video 2


def test_more_right_items_than_k_are_counted_one_by_one():
    scores = np.tile(np.arange(50.0, 0, -1), (1, 1))
    relevance = np.zeros((1, 50), dtype=bool)
    relevance[0, 5:45] = True
    metrics = evaluate(scores=scores, relevance=relevance, ks=(10,)).metrics["retrieval"]
    assert metrics["hit@10"] == 1.0 and metrics["recall@10"] == 5 / 40


def test_the_first_protocol_searches_one_caption_a_video():
    scores = np.array([[1.0, 2.0], [5.0, 0.0], [0.0, 1.0], [9.0, 3.0]])
    found = from_scores(scores, [0, 0, 1, 1], v2t="first", ks=(1,), return_hard_negatives=True)
    # Captions 0 and 2 are searched: video 0 finds its own first, video 1 prefers caption 0.
    assert found.v2t.rank.tolist() == [1, 2]
    assert found.v2t.hardest_negative.tolist() == [2, 0]
    assert found.metrics["t2v"] == from_scores(scores, [0, 0, 1, 1], ks=(1,)).metrics["t2v"]


@pytest.mark.parametrize("seed", range(12))
def test_group_max_ranks_videos_by_their_best_caption(seed):
    """Against the matrix of best captions, evaluated as a matrix."""
    text, video, owner, _ = random_problem(seed)
    owner = np.random.default_rng(seed).permutation(owner)  # captions of a video needn't be neighbours
    owner[:3] = -1
    similarity = ["cosine", "dot", "euclidean"][seed % 3]
    if seed > 5:
        text, video = np.rint(text), np.rint(video)  # ties
    scores = score_matrix(text=text, video=video, similarity=similarity)
    have = np.unique(owner[owner >= 0])
    best = np.stack([scores[owner == v].max(axis=0) for v in have], axis=1)
    want = evaluate(scores=best[have], relevance=np.arange(len(have)), ks=(1, 5), return_hard_negatives=True)
    for memory in (1, 2**30):
        options = {
            "v2t": "group_max",
            "similarity": similarity,
            "ks": (1, 5),
            "memory": memory,
            "return_hard_negatives": True,
        }
        found = evaluate(text=text, video=video, video_of_caption=owner, **options)
        assert found.v2t.query.tolist() == have.tolist()
        assert found.v2t.rank.tolist() == want.directions["retrieval"].rank.tolist()
        assert found.v2t.hardest_negative.tolist() == have[want.directions["retrieval"].hardest_negative].tolist()
        assert found.v2t.gap.tolist() == want.directions["retrieval"].gap.tolist()
        plain = evaluate(
            text=text, video=video, video_of_caption=owner, similarity=similarity, ks=(1, 5), return_hard_negatives=True
        )
        assert found.metrics["t2v"] == plain.metrics["t2v"]
        assert found.t2v.hardest_negative.tolist() == plain.t2v.hardest_negative.tolist()
    assert evaluate(text=text, video=video, video_of_caption=owner, v2t="group_max").t2v.hardest_negative is None


def test_group_max_refuses_captions_of_several_videos():
    with pytest.raises(EvaluationError, match="group_max needs captions of one video each"):
        evaluate(text=np.eye(2), video=np.eye(2), relevance=np.ones((2, 2)), v2t="group_max")


def test_scores_of_captions_and_videos_are_measured_in_both_directions():
    text, video, owner, _ = random_problem(13)
    found = evaluate(scores=score_matrix(text=text, video=video), video_of_caption=owner)
    assert found.metrics == evaluate(text=text, video=video, video_of_caption=owner).metrics


def test_one_direction_alone_is_what_it_is_in_both():
    text, video, owner, _ = random_problem(12)
    both = evaluate(text=text, video=video, video_of_caption=owner).metrics
    for direction in ("t2v", "v2t"):
        alone = evaluate(text=text, video=video, video_of_caption=owner, directions=[direction]).metrics
        assert set(alone) == {direction, "health"} and alone[direction] == both[direction]


class TakenByPosition:
    """Rows as a store has them: a width, a length, and `take`; an index is a key."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.dim = values.shape[1]
        self.largest = 0

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: object) -> np.ndarray:
        raise KeyError(key)

    def take(self, positions: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(positions))
        return self._values[positions]


class Sliced:
    """What Zarr and HDF5 arrays have in common."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape = values.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        return self._values[rows]


def test_rows_are_read_block_by_block_from_whatever_holds_them(tmp_path):
    generator = np.random.default_rng(0)
    video = generator.normal(size=(3000, 8)).astype(np.float32)
    owner = generator.integers(3000, size=500)
    text = video[owner] + generator.normal(size=(500, 8)).astype(np.float32)
    plain = evaluate(text=text, video=video, video_of_caption=owner).metrics
    taken = TakenByPosition(video)
    assert evaluate(text=text, video=taken, video_of_caption=owner, memory=2**16).metrics == plain
    assert taken.largest < 600
    assert evaluate(text=Sliced(text), video=Sliced(video), video_of_caption=owner, memory=2**20).metrics == plain
    np.save(tmp_path / "video.npy", video)
    assert (
        evaluate(text=text, video=np.load(tmp_path / "video.npy", mmap_mode="r"), video_of_caption=owner).metrics
        == plain
    )


def test_what_is_asked_for_must_be_known():
    with pytest.raises(UnknownNameError, match="best, first, group_max"):
        evaluate(text=np.eye(2), video=np.eye(2), video_of_caption=[0, 1], v2t="mean")
    with pytest.raises(UnknownNameError, match="t2v, v2t"):
        evaluate(text=np.eye(2), video=np.eye(2), video_of_caption=[0, 1], directions=["t2t"])
    for wrong in ({}, {"text": np.eye(2), "video": np.eye(2)}, {"scores": np.eye(2)}):
        with pytest.raises(EvaluationError, match="evaluate takes"):
            evaluate(**wrong)
    with pytest.raises(EvaluationError, match=r"relevance is \(2, 3\), but there are 2 x 2"):
        evaluate(scores=np.eye(2), relevance=np.ones((2, 3)))


def test_a_curve_runs_through_the_metrics_and_its_chance():
    text, video, owner, _ = random_problem(10)
    found = evaluate(text=text, video=video, video_of_caption=owner)
    for direction, name in (("t2v", "R"), ("v2t", "recall")):
        curve = found.curve(direction, (1, 5, 10))
        assert curve["recall"].tolist() == [found.metrics[direction][f"{name}@{k:02d}"] for k in (1, 5, 10)]
        assert curve["chance"].tolist() == [found.chance[direction][f"{name}@{k:02d}"] for k in (1, 5, 10)]


def test_nan_is_an_error_and_not_a_perfect_hit():
    text = np.eye(3)
    text[1, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"text: 1 of 3 rows .*: 1"):
        evaluate(text=text, video=np.eye(3), video_of_caption=[0, 1, 2])


@pytest.mark.parametrize(
    ("text", "video", "owner", "says"),
    [
        (np.eye(3), np.eye(2), [0, 1, 1], "3 wide and video 2.*zero-pad"),
        (np.eye(2), np.eye(2), [0, 2], "Caption 1 names video 2"),
        (np.eye(2), np.eye(2), [0], "video_of_caption must be 2"),
        (np.eye(2), np.eye(2), [-1, -1], "nothing to rank"),
        (np.ones(3), np.eye(3), [0, 1, 2], r"text must be a matrix \(n, dim\)"),
    ],
)
def test_shapes_that_do_not_fit_are_errors_that_say_so(text, video, owner, says):
    with pytest.raises(EvaluationError, match=says):
        evaluate(text=text, video=video, video_of_caption=owner)


def test_an_unknown_tie_rule_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="expected, optimistic, pessimistic"):
        evaluate(text=np.eye(2), video=np.eye(2), video_of_caption=[0, 1], ties="lucky")
