"""Scores and counts: exact, and the same however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import NonFiniteError, UnknownNameError
from reelstore.ranking import PairCounts, count_pairs, score_matrix


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
    assert score_matrix(text, video, similarity="dot").tolist() == [[3.0, 20.0], [0.0, 10.0]]
    assert score_matrix(text, video).tolist() == [[0.6, 0.8], [0.0, 1.0]]


def test_scores_agree_with_a_plain_matrix_product():
    text, video = embeddings(40, 33, 0), embeddings(30, 33, 1)
    left, right = text.astype(np.float64), video.astype(np.float64)
    plain = left @ right.T / np.linalg.norm(left, axis=1)[:, None] / np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(score_matrix(text, video), plain, rtol=0, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_counts_are_what_one_comparison_after_the_other_gives(data):
    n_text, n_video = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 5))
    numbers = st.integers(-1, 1)
    text = np.array([[data.draw(numbers) for _ in range(2)] for _ in range(n_text)], dtype=np.float32)
    video = np.array([[data.draw(numbers) for _ in range(2)] for _ in range(n_video)], dtype=np.float32)
    relevant = np.array([[data.draw(st.booleans()) for _ in range(n_video)] for _ in range(n_text)])
    t2v, v2t = count_pairs(text, video, *np.nonzero(relevant), tile=data.draw(st.integers(1, 8)))
    scores = score_matrix(text, video)
    for counts, by_hand in ((t2v, counted_by_hand(scores, relevant)), (v2t, counted_by_hand(scores.T, relevant.T))):
        columns = counts.query, counts.item, counts.greater, counts.equal
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == by_hand


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_every_tile_size_gives_the_same_bits(similarity):
    text, video = embeddings(61, 24, 2), embeddings(17, 24, 3)
    text[20:40] = text[5]  # ties to be decided alike as well
    video[3] = video[4] = video[11]
    owner = np.arange(61) % 17
    found = [
        [as_lists(c) for c in count_pairs(text, video, np.arange(61), owner, similarity=similarity, tile=tile)]
        for tile in (1, 2, 7, 16, 64, 1000)
    ]
    assert all(one == found[0] for one in found)


def test_counts_follow_the_rows_when_rows_are_reordered():
    text, video = embeddings(50, 16, 4), embeddings(20, 16, 5)
    owner = np.arange(50) % 20
    order = np.random.default_rng(0).permutation(20)
    place = np.argsort(order)
    straight, _ = count_pairs(text, video, np.arange(50), owner)
    shuffled, _ = count_pairs(text, video[order], np.arange(50), place[owner])
    assert straight.greater.tolist() == shuffled.greater.tolist()
    assert straight.score.tolist() == shuffled.score.tolist()


def test_the_same_values_in_another_dtype_score_the_same():
    text, video = embeddings(30, 16, 6), embeddings(10, 16, 7)
    half = score_matrix(text, video)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(half, score_matrix(text.astype(dtype), video.astype(dtype)))


def test_equal_rows_tie_exactly_wherever_they_stand():
    video = embeddings(300, 40, 8)
    video[[7, 150, 299]] = video[0]
    scores = score_matrix(embeddings(5, 40, 9), video)
    assert all(np.array_equal(scores[:, 0], scores[:, other]) for other in (7, 150, 299))


def test_a_zero_vector_scores_zero_with_everything_whatever_its_signs():
    text = np.array([[0.0, 0.0], [-0.0, 0.0]])
    assert score_matrix(text, np.array([[1.0, -2.0], [0.0, -0.0]])).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_sides_that_share_no_dimension_score_zero():
    assert score_matrix(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 2.0]])).tolist() == [[0.0, 0.0]]


def test_huge_and_tiny_vectors_keep_their_direction():
    video = np.array([[3.0, 4.0], [4.0, -3.0]])
    plain = score_matrix(video, video)
    for scale in (2.0**-900, 2.0**900):
        assert np.array_equal(score_matrix(video * scale, video), plain)


def test_zero_padding_changes_no_bit():
    text, video = embeddings(30, 12, 10), embeddings(20, 12, 11)
    padded = np.pad(text, ((0, 0), (0, 20))), np.pad(video, ((0, 0), (0, 20)))
    assert np.array_equal(score_matrix(text, video), score_matrix(*padded))


def test_the_best_wrong_item_is_the_first_of_the_highest():
    text = np.array([[1.0, 0.0]])
    video = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    t2v, v2t = count_pairs(text, video, np.array([0]), np.array([0]), tile=2)
    assert t2v.best_wrong.tolist() == [2]
    assert v2t.best_wrong.tolist() == [-1, 0, 0, 0]  # video 0 has no wrong caption


def test_nan_is_an_error_that_names_the_rows():
    video = embeddings(9, 4, 12, np.float32)
    video[[2, 5], 1] = np.nan, np.inf
    with pytest.raises(NonFiniteError, match=r"video: 2 of 9 rows .* 2, 5"):
        score_matrix(video[:2], video)


def test_a_dot_product_that_overflows_is_an_error():
    huge = np.full((1, 2), 1e200)
    with pytest.raises(NonFiniteError, match="overflows"):
        score_matrix(huge, huge, similarity="dot")


def test_an_unknown_similarity_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="cosine, dot"):
        score_matrix(np.ones((1, 1)), np.ones((1, 1)), similarity="euclid")
