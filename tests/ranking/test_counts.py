"""Scores and counts: exact, and the same however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import NonFiniteError, UnknownNameError
from reelstore.ranking import PairCounts, count_pairs, count_scores, score_matrix
from reelstore.ranking.count_state import CountState
from reelstore.ranking.scorers import Matrix
from reelstore.ranking.tiles import Tile

from .problems import KINDS, LEVELS, close_together, drawn


def embeddings(n: int, dim: int, seed: int, dtype: type = np.float16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


def as_lists(counts: PairCounts) -> list:
    return [values.tolist() for values in vars(counts).values() if isinstance(values, np.ndarray)]


def counted_by_hand(scores: np.ndarray, relevant: np.ndarray) -> list:
    """(query, item, greater, equal) of every right pair, one comparison at a time."""
    found = []
    for query, item in np.argwhere(relevant).tolist():
        wrong = [scores[query, i] for i in range(scores.shape[1]) if not relevant[query, i]]
        own = scores[query, item]
        found.append((query, item, sum(s > own for s in wrong), sum(s == own for s in wrong)))
    return found


def test_cosine_and_dot_of_vectors_small_enough_to_check_by_eye():
    text, video = np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 5.0]])
    assert score_matrix(text=text, video=video, similarity="dot").tolist() == [[3.0, 20.0], [0.0, 10.0]]
    assert score_matrix(text=text, video=video).tolist() == [[0.6, 0.8], [0.0, 1.0]]


def test_euclidean_is_the_negative_squared_distance():
    text, video = np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 3.0]])
    assert score_matrix(text=text, video=video, similarity="euclidean").tolist() == [[-25.0, -1.0]]


def test_the_order_of_a_sum_is_the_stated_one():
    """Written out: what lies beyond the largest power of two is added onto the front, until one is left."""
    products = np.random.default_rng(0).normal(size=(20, 45)).astype(np.float32).astype(np.float64)
    for row, found in zip(
        products, score_matrix(text=products, video=np.ones((1, 45)), similarity="dot")[:, 0], strict=True
    ):
        left = row.tolist()
        while len(left) > 1:
            half = max(2**power for power in range(10) if 2**power < len(left))
            left = [a + b for a, b in zip(left, left[half:], strict=False)] + left[len(left) - half : half]
        assert found == left[0]


def test_whole_numbers_are_multiplied_by_a_blas_to_the_same_bits(monkeypatch):
    generator = np.random.default_rng(0)
    text, video = generator.integers(-90, 90, size=(2, 30, 100)).astype(np.int8)
    fast = score_matrix(text=text, video=video)
    monkeypatch.setattr("reelstore.ranking.reference._exact_product", lambda left, right: None)
    assert np.array_equal(fast, score_matrix(text=text, video=video))


def test_scores_agree_with_a_plain_matrix_product():
    text, video = embeddings(40, 33, 0), embeddings(30, 33, 1)
    left, right = text.astype(np.float64), video.astype(np.float64)
    plain = left @ right.T / np.linalg.norm(left, axis=1)[:, None] / np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(score_matrix(text=text, video=video), plain, rtol=0, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_counts_are_what_one_comparison_after_the_other_gives(data):
    n_text, n_video = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 5))
    numbers = st.integers(-1, 1)
    text = np.array([[data.draw(numbers) for _ in range(2)] for _ in range(n_text)], dtype=np.float32)
    video = np.array([[data.draw(numbers) for _ in range(2)] for _ in range(n_video)], dtype=np.float32)
    relevant = np.array([[data.draw(st.booleans()) for _ in range(n_video)] for _ in range(n_text)])
    similarity = data.draw(st.sampled_from(["cosine", "dot", "euclidean"]))
    options = {"similarity": similarity, "first": data.draw(st.sampled_from(LEVELS))}
    scores = score_matrix(text=text, video=video, similarity=similarity)
    check(
        count_pairs(*np.nonzero(relevant), text=text, video=video, return_hard_negatives=True, **options),
        scores,
        relevant,
    )
    check(count_scores(Matrix(scores), *np.nonzero(relevant), return_hard_negatives=True), scores, relevant)


def check(counts: dict, scores: np.ndarray, relevant: np.ndarray) -> None:
    for direction, matrix, right in (("t2v", scores, relevant), ("v2t", scores.T, relevant.T)):
        found = counts[direction]
        columns = found.query, found.item, found.greater, found.equal
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == counted_by_hand(matrix, right)
        asked = right.any(axis=1) & ~right.all(axis=1)
        best = np.where(asked, np.where(right, -np.inf, matrix).argmax(axis=1), -1)
        assert found.hardest_negative.tolist() == best.tolist()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_level_block_size_and_device_gives_the_reference_s_counts(kind, similarity):
    generator = np.random.default_rng(KINDS.index(kind))
    for dtype in (np.float32, np.float64):
        text, video = (side.astype(dtype) for side in drawn(kind, generator))
        relevant = generator.random((len(text), len(video))) < generator.choice([0.5 / len(video), 0.1])
        scores = score_matrix(text=text, video=video, similarity=similarity)
        want = [
            as_lists(c)
            for c in count_scores(Matrix(scores), *np.nonzero(relevant), return_hard_negatives=True).values()
        ]
        for first in [*LEVELS, None]:
            for memory, device in ((1, None), (2**30, None), (2**30, "cpu")):
                counts = count_pairs(
                    *np.nonzero(relevant),
                    text=text,
                    video=video,
                    similarity=similarity,
                    return_hard_negatives=True,
                    first=first,
                    memory=memory,
                    device=device,
                )
                assert [as_lists(c) for c in counts.values()] == want, (first, memory, device)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(n_threads, monkeypatch):
    text, video = embeddings(700, 64, 2, np.float32), embeddings(3000, 64, 3, np.float32)
    owner = np.random.default_rng(0).integers(3000, size=700)
    monkeypatch.setattr("reelstore.ranking.counter._SMALL", 0)
    straight = [
        as_lists(c)
        for c in count_pairs(np.arange(700), owner, text=text, video=video, return_hard_negatives=True).values()
    ]
    for module in ("counter", "threads"):
        monkeypatch.setattr(f"reelstore.ranking.{module}.n_threads", lambda: n_threads)
    assert [
        as_lists(c)
        for c in count_pairs(np.arange(700), owner, text=text, video=video, return_hard_negatives=True).values()
    ] == straight


def test_many_captions_a_video_are_counted_as_few_are():
    generator = np.random.default_rng(0)
    video = generator.normal(size=(40, 16)).astype(np.float32)
    owner = np.repeat(np.arange(40), 25)
    text = (video[owner] + 2 * generator.normal(size=(1000, 16))).astype(np.float32)
    check(
        count_pairs(np.arange(1000), owner, text=text, video=video, return_hard_negatives=True),
        score_matrix(text=text, video=video),
        owner[:, None] == np.arange(40),
    )


def test_counts_follow_the_rows_when_rows_are_reordered():
    text, video = embeddings(50, 16, 4), embeddings(20, 16, 5)
    owner = np.arange(50) % 20
    order = np.random.default_rng(0).permutation(20)
    place = np.argsort(order)
    straight = count_pairs(np.arange(50), owner, text=text, video=video, return_hard_negatives=True)["t2v"]
    shuffled = count_pairs(np.arange(50), place[owner], text=text, video=video[order], return_hard_negatives=True)[
        "t2v"
    ]
    assert straight.greater.tolist() == shuffled.greater.tolist()
    assert straight.score.tolist() == shuffled.score.tolist()


def test_the_same_values_in_another_dtype_score_the_same():
    text, video = embeddings(30, 16, 6), embeddings(10, 16, 7)
    half = score_matrix(text=text, video=video)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(half, score_matrix(text=text.astype(dtype), video=video.astype(dtype)))


def test_equal_rows_tie_exactly_wherever_they_stand():
    video = embeddings(300, 40, 8)
    video[[7, 150, 299]] = video[0]
    scores = score_matrix(text=embeddings(5, 40, 9), video=video)
    assert all(np.array_equal(scores[:, 0], scores[:, other]) for other in (7, 150, 299))


def test_a_zero_vector_scores_zero_with_everything_whatever_its_signs():
    text = np.array([[0.0, 0.0], [-0.0, 0.0]])
    assert score_matrix(text=text, video=np.array([[1.0, -2.0], [0.0, -0.0]])).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_sides_that_share_no_dimension_score_zero():
    assert score_matrix(text=np.array([[1.0, 0.0]]), video=np.array([[0.0, 1.0], [0.0, 2.0]])).tolist() == [[0.0, 0.0]]


def test_huge_and_tiny_vectors_keep_their_direction():
    video = np.array([[3.0, 4.0], [4.0, -3.0]])
    plain = score_matrix(text=video, video=video)
    for scale in (2.0**-900, 2.0**900):
        assert np.array_equal(score_matrix(text=video * scale, video=video), plain)


def test_zero_padding_changes_no_bit():
    text, video = embeddings(30, 12, 10), embeddings(20, 12, 11)
    padded = {"text": np.pad(text, ((0, 0), (0, 20))), "video": np.pad(video, ((0, 0), (0, 20)))}
    assert np.array_equal(score_matrix(text=text, video=video), score_matrix(**padded))


def test_the_hardest_negative_item_is_the_first_of_the_highest():
    text = np.array([[1.0, 0.0]])
    video = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    counts = count_pairs(np.array([0]), np.array([0]), text=text, video=video, return_hard_negatives=True)
    assert counts["t2v"].hardest_negative.tolist() == [2]
    assert counts["v2t"].hardest_negative.tolist() == [
        -1,
        -1,
        -1,
        -1,
    ]  # video 0 has no wrong caption, the others no right one


def test_nan_is_an_error_that_names_the_rows():
    video = embeddings(9, 4, 12, np.float32)
    video[[2, 5], 1] = np.nan, np.inf
    with pytest.raises(NonFiniteError, match=r"video: 2 of 9 rows .* 2, 5"):
        score_matrix(text=video[:2], video=video)


def test_a_dot_product_that_overflows_is_an_error():
    huge = np.full((1, 2), 1e200)
    with pytest.raises(NonFiniteError, match="overflows"):
        score_matrix(text=huge, video=huge, similarity="dot")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_a_problem_as_large_as_bfloat16_pays_for_takes_any_scale_without_a_warning(scale: float) -> None:
    pytest.importorskip("torch", reason="bfloat16 is torch's")
    text, video = embeddings(600, 512, 0, np.float64), embeddings(600, 512, 1, np.float64)
    plain = count_pairs(np.arange(600), np.arange(600), text=text, video=video, similarity="dot")
    scaled = count_pairs(np.arange(600), np.arange(600), text=text * scale, video=video, similarity="dot")
    for direction, of in plain.items():
        assert abs(scaled[direction].greater - of.greater).max() <= 1  # scaling rounds


def test_an_unknown_similarity_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="cosine, dot, euclidean"):
        score_matrix(text=np.ones((1, 1)), video=np.ones((1, 1)), similarity="manhattan")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_rows_however_close_together_have_the_reference_s_counts_at_every_level(similarity: str) -> None:
    for seed in (*range(40), 73, 87, 173, 244):  # the last ones notice a bound that leaves out the rounding of sums
        text, video, owner = close_together(seed)
        caption = np.arange(len(text))
        group = owner if seed % 5 == 0 else None
        counts = [
            count_pairs(
                caption,
                owner,
                text=text,
                video=video,
                similarity=similarity,
                return_hard_negatives=True,
                group=group,
                first=first,
            )
            for first in LEVELS
        ]
        for found in counts[:-1]:
            for direction, of in found.items():
                assert as_lists(of) == as_lists(counts[-1][direction]), f"seed {seed}, {direction}"


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_right_pairs_left_undefined_change_no_count(kind: str, similarity: str) -> None:
    """Without answers, queries with one right item are compared with estimates first."""
    for seed in range(5):
        generator = np.random.default_rng([KINDS.index(kind), seed])
        text, video = (side.astype(generator.choice([np.float32, np.float64])) for side in drawn(kind, generator))
        if seed % 2:  # videos beside their captions, and far from the others
            n = min(len(text), len(video))
            text[:n] = (video[:n] + generator.uniform(0, 3) * text[:n]).astype(text.dtype)
        n_pairs = int(generator.integers(1, min(len(text), len(video)) + 1))
        caption = np.sort(generator.permutation(len(text))[:n_pairs])
        owner = generator.permutation(len(video))[:n_pairs]
        for directions in (["t2v"], ["v2t"], ["t2v", "v2t"]):
            plain = {"similarity": similarity, "directions": directions}
            defined = count_pairs(caption, owner, text=text, video=video, return_hard_negatives=True, **plain)
            levels = [{"first": level, "memory": memory} for level in LEVELS for memory in (2**20, 2**30)]
            for options in (*levels, {}, {"device": "cpu"}):
                found = count_pairs(caption, owner, text=text, video=video, **plain, **options)
                for direction, of in found.items():
                    assert of.greater.tolist() == defined[direction].greater.tolist(), (seed, options, direction)
                    assert of.equal.tolist() == defined[direction].equal.tolist(), (seed, options, direction)


def test_several_right_items_are_ordered_by_defined_scores() -> None:
    text, video = embeddings(60, 16, 4, np.float32), embeddings(20, 16, 5, np.float32)
    found = count_pairs(np.arange(60), np.arange(60) % 20, text=text, video=video, directions=["v2t"])["v2t"]
    assert np.array_equal(found.score, score_matrix(text=text, video=video)[found.item, found.query])


def test_estimates_as_wrong_as_they_may_be_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    sign, estimate = generator.choice([-1.0, 1.0], size=300), CountState.estimate
    monkeypatch.setattr(
        CountState, "estimate", lambda self, product, error: estimate(self, product + sign * 0.999 * error, error)
    )
    text, video = embeddings(300, 64, 0, np.float32), embeddings(300, 64, 1, np.float32)
    rivals = (video + 1e-6 * generator.normal(size=video.shape)).astype(np.float32)
    video = np.concatenate([video, rivals])
    scores = score_matrix(text=text, video=video)
    for first in ("bfloat16", "float32"):
        found = count_pairs(np.arange(300), np.arange(300), text=text, video=video, first=first)
        assert np.isnan(found["t2v"].score).all()
        right = scores[np.arange(300), np.arange(300)]
        assert found["t2v"].greater.tolist() == (scores > right[:, None]).sum(axis=1).tolist()
        assert found["v2t"].greater.tolist() == (scores[:, :300] > right).sum(axis=0).tolist()


@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorted_rows_find_what_comparing_finds(dtype: type, infinite: bool) -> None:
    rng = np.random.default_rng(int(infinite))
    for n_columns in range(1, 60):
        scores = rng.integers(-3, 4, (3, n_columns)).astype(dtype)
        scores[rng.random(scores.shape) < 0.1] = -0.0
        if infinite:
            scores[rng.random(scores.shape) < 0.3] = -np.inf
            scores[rng.random(scores.shape) < 0.1] = np.inf
        row = np.repeat(np.arange(3), 8)
        threshold = scores[row, rng.integers(0, n_columns, len(row))]
        low, high = threshold - rng.integers(0, 2, len(row)).astype(dtype), threshold
        found = Tile(scores, len(scores)).in_rows(row, low, high)
        between = (scores[row] >= low[:, None]) & (scores[row] <= high[:, None])
        assert found.above.tolist() == (scores[row] > high[:, None]).sum(axis=1).tolist()
        assert found.between.tolist() == between.sum(axis=1).tolist()
        listed = sorted(zip(found.near.tolist(), found.row.tolist(), found.column.tolist(), strict=True))
        assert listed == [(near, row[near], column) for near, column in np.argwhere(between).tolist()]
