"""Relevance in every form that it comes in: the value that is meant, or an error that says where it is wrong."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import coo_array, csr_matrix

from reelstore.errors import EvaluationError
from reelstore.evaluation import Pairs, evaluate

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(4, 6))
GRADES = np.array([[2, 0, -1, 0, 1, 0], [0, 3, 0, 0, 0, 0], [-1, -2, 0, 0, 0, 0], [0, 0, 1, 1, 0, 2]])
YES = GRADES > 0


def of(relevance, **options):
    return evaluate(scores=SCORES, relevance=relevance, ks=(1, 3), **options).metrics


def nested(values: np.ndarray, outer: type, inner: type):
    return outer(inner(row) for row in values.tolist())


QUERY, ITEM = np.nonzero(YES)
TWICE = coo_array(
    (np.r_[GRADES[GRADES != 0] - 1, np.ones((GRADES != 0).sum())], tuple(np.tile(np.array(np.nonzero(GRADES)), 2))),
    GRADES.shape,
)
GRADED = {
    **{
        f"{outer.__name__} of {inner.__name__}s": nested(GRADES, outer, inner)
        for outer in (list, tuple)
        for inner in (list, tuple)
    },
    "list of arrays": list(GRADES),
    "tuple of arrays": tuple(GRADES),
    "lists of NumPy's numbers": [[np.int64(grade) for grade in row] for row in GRADES],
    "objects": GRADES.astype(object),
    "int8": GRADES.astype(np.int8),
    "float16": GRADES.astype(np.float16),
    "fortran": np.asfortranarray(GRADES),
    "tensor": torch.tensor(GRADES),
    "bfloat16": torch.tensor(GRADES).bfloat16(),
    "list of tensors": list(torch.tensor(GRADES).bfloat16()),
    "data frame": pd.DataFrame(GRADES),
    "nullable data frame": pd.DataFrame(GRADES).astype("Int64"),
    "csr": csr_matrix(GRADES),
    "int8 coo": coo_array(GRADES.astype(np.int8)),
    "given twice, adds up": TWICE,
    "sparse tensor": torch.tensor(GRADES).to_sparse(),
    "csr tensor": torch.tensor(GRADES).float().to_sparse_csr(),
    "pairs": Pairs(*np.nonzero(GRADES), GRADES[GRADES != 0]),
    "pairs of lists": Pairs(*(side.tolist() for side in np.nonzero(GRADES)), GRADES[GRADES != 0].tolist()),
    "dict of dicts": {q: {i: int(GRADES[q, i]) for i in range(6) if GRADES[q, i]} for q in range(4)},
    "unmasked": np.ma.array(GRADES),
}
BINARY = {
    "bool": YES,
    "uint8": YES.astype(np.uint8),
    "bool tensor": torch.tensor(YES),
    "bool csr": csr_matrix(YES),
    "bool given twice": coo_array((np.ones(2 * len(QUERY), bool), (np.r_[QUERY, QUERY], np.r_[ITEM, ITEM])), YES.shape),
    "nonzero": np.nonzero(YES),
    "list of two arrays": list(np.nonzero(YES)),
    "two tensors": tuple(torch.tensor(side) for side in np.nonzero(YES)),
    "unsigned pairs": Pairs(QUERY.astype(np.uint64), ITEM.astype(np.uint8)),
    "pairs twice": Pairs(np.r_[QUERY, QUERY], np.r_[ITEM, ITEM]),
    "dict of lists": {q: np.flatnonzero(YES[q]).tolist() for q in range(4)},
    "dict of sets": {np.int64(q): set(np.flatnonzero(YES[q]).tolist()) for q in range(4)},
    "negatives": np.where(YES, 1, -1),
    "pandas boolean": pd.DataFrame(YES).astype("boolean"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("form", [*GRADED, *BINARY])
def test_every_form_says_the_same(form):
    graded = form in GRADED
    want = of(GRADES if graded else YES)
    assert of((GRADED if graded else BINARY)[form]) == want
    assert want["health"]["no_relevant"] == 1


def test_a_tuple_of_tuples_is_a_matrix_as_a_list_of_lists_is():
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    matrix = evaluate(scores=scores, relevance=[[1, 0], [0, 1]]).metrics
    assert evaluate(scores=scores, relevance=((1, 0), (0, 1))).metrics == matrix
    for pairs in ((np.array([1, 0]), np.array([0, 1])), [np.array([1, 0]), np.array([0, 1])]):
        with pytest.raises(EvaluationError, match=r"may be the rows of a matrix.*Pairs"):
            evaluate(scores=scores, relevance=pairs)
    assert evaluate(scores=scores, relevance=Pairs([1, 0], [0, 1])).metrics != matrix


@pytest.mark.parametrize("owners", [
    [0, 2, -1, 5], (0, 2, -1, 5), np.array([0, 2, -1, 5], np.int8), torch.tensor([0, 2, -1, 5]),
    pd.Series([0, 2, -1, 5]), pd.Series([0, 2, -1, 5], dtype="Int64"), [np.int64(0), np.uint8(2), -1, 5],
    np.array([0, 2, -1, 5], dtype=object),
])  # fmt: skip
def test_every_form_of_owners_says_the_same(owners):
    assert of(owners) == of(Pairs([0, 1, 3], [0, 2, 5]))


NAN, INF = float("nan"), float("inf")
MASKED = np.ma.array(GRADES, mask=GRADES == 3)


@pytest.mark.parametrize(
    ("relevance", "says"),
    [
        (GRADES.astype(str), "holds <U"),
        (GRADES.astype(bytes), "holds |S"),
        (GRADES.astype(complex), "holds complex128"),
        (GRADES.astype("datetime64[s]"), "holds datetime64"),
        (GRADES.astype("timedelta64[s]"), "holds timedelta64"),
        (np.where(YES, "yes", "").astype(object), "relevance[0, 0] is 'yes'"),
        (np.where(GRADES == 3, None, GRADES.astype(object)), "relevance[1, 1] is None"),
        (np.where(GRADES == 3, NAN, GRADES.astype(object)), "relevance[1, 1] is nan"),
        (np.where(GRADES == 3, NAN, GRADES), "relevance[1, 1] is nan"),
        (np.where(GRADES == 3, INF, GRADES), "relevance[1, 1] is inf"),
        (np.where(GRADES == -2, -INF, GRADES), "relevance[2, 1] is -inf"),
        (torch.tensor(GRADES).to(torch.complex64), "holds complex64"),
        (csr_matrix(np.where(GRADES == 3, NAN, GRADES)), "nan"),
        (csr_matrix(GRADES.astype(complex)), "holds complex128"),
        (pd.DataFrame(GRADES).astype("Int64").mask(pd.DataFrame(GRADES == 3)), "relevance[1, 1] is <NA>"),
        (pd.DataFrame(GRADES).astype(str), "a number is expected"),
        (MASKED, "1 masked values"),
        (list(MASKED), "relevance[1] has 1 masked values"),
        (np.ma.array([0, 1, 2, 3], mask=[0, 0, 0, 1]), "1 masked values"),
        (GRADES[:, :5], "relevance is (4, 5), but there are 4 x 6 pairs"),
        (csr_matrix(GRADES[:3]), "relevance is (3, 6), but there are 4 x 6 pairs"),
        (torch.tensor(GRADES.T).to_sparse(), "relevance is (6, 4)"),
        (np.pad(GRADES, 1), "relevance is (6, 8)"),
        ([[0, 1, 2], [1, 2, 0]], "Pairs(query, item)"),
        ([[0, 3], [1], [2], []], "rows have different lengths"),
        ([[0, 3], 1, 2, 3], "rows have different lengths"),
        (GRADES[None], "must be 4 whole numbers"),
        (7, "must be 4 whole numbers"),
        ("abcd", "must be 4 whole numbers"),
        (["a", "b", "c", "d"], "must be 4 whole numbers"),
        ([0.0, 1.0, 2.0, 3.0], "must be 4 whole numbers"),
        ([True, False, True, True], "must be 4 whole numbers"),
        ([0, None, 1, 2], "relevance[1] is None"),
        ([0, 1, 2, 6], "Query 3 names item 6, but items are 0 to 5"),
        ([0, 1, 2, -2], "Query 3 names item -2"),
        (np.array([0, 1, 2, 2**64 - 1], np.uint64), "Query 3 names item 18446744073709551615"),
        ([0, 1, 2, 2**70], "item"),
        (Pairs([0, 4], [0, 1]), "name query 4, but queries are 0 to 3"),
        (Pairs([0, 1], [0, 6]), "name item 6"),
        (Pairs([0, -1], [0, 1]), "name query -1"),
        (Pairs([0, 1], [0]), "as many of each"),
        (Pairs([0, 1], [0, 1], [1]), "as many of each"),
        (Pairs([0.0, 1.0], [0, 1]), "must be whole numbers"),
        (Pairs([0, 1], [0, 1], ["1", "2"]), "holds <U"),
        (Pairs([0, 1], [0, 1], [1, NAN]), "is nan"),
        (Pairs([0, 0], [1, 1], [1, 2]), "query 0 and item 1 two grades: 1 and 2"),
        ({"q1": {0: 1}}, "a row number, is 'q1'"),
        ({0: {"d1": 1}}, "item is 'd1'"),
        ({0: {7: 1}}, "item is 7; it must be at most 5"),
        ({0: {1: "2"}}, "is '2'"),
        ({0: {1: None}}, "is None"),
        ({0.0: [1]}, "whole number is expected"),
        ({}, "None of the 4 queries has a relevant item"),
        (np.zeros((4, 6)), "nothing to rank"),
        (-GRADES * YES, "nothing to rank"),
        (YES * 0.5, "Its highest grade is 0.5, and relevant_from is 1"),
    ],
)  # fmt: skip
def test_what_is_no_relevance_is_refused_where_it_stands(relevance, says):
    with pytest.raises(EvaluationError, match=re.escape(says)):
        of(relevance)


def test_pandas_objects_in_other_orders_are_refused_and_in_one_order_taken():
    names = list("abcd")
    scores = pd.DataFrame(SCORES, index=names, columns=list("uvwxyz"))
    right = pd.DataFrame(YES, index=names, columns=list("uvwxyz"))
    assert evaluate(scores=scores, relevance=right, ks=(1, 3)).metrics == of(YES)
    assert evaluate(scores=scores, relevance=right.to_numpy(), ks=(1, 3)).metrics == of(YES)
    owner = pd.Series([0, 1, 2, 3], index=names)
    others = (right.iloc[::-1], right[right.columns[::-1]], owner.iloc[::-1], owner.reset_index(drop=True))
    for other in others:
        with pytest.raises(EvaluationError, match="labels differ"):
            evaluate(scores=scores, relevance=other)
    text, video = pd.DataFrame(SCORES, index=names), pd.DataFrame(SCORES, index=names)
    plain = evaluate(text=SCORES, video=SCORES, video_of_caption=[0, 1, 2, 3]).metrics
    assert (
        evaluate(text=text, video=video, video_of_caption=owner).metrics
        == evaluate(text=text, video=video, video_of_caption=[0, 1, 2, 3]).metrics
        == plain
    )
    with pytest.raises(EvaluationError, match="text and video_of_caption are pandas objects whose labels differ"):
        evaluate(text=text, video=video, video_of_caption=owner.iloc[::-1])
    with pytest.raises(EvaluationError, match="video and relevance are pandas objects"):
        evaluate(text=text, video=video, relevance=pd.DataFrame(np.eye(4), index=names, columns=names[::-1]))


def test_masked_values_are_never_read_beneath_their_mask():
    scores = np.ma.array(SCORES, mask=SCORES < 0)
    cut = np.where(SCORES < 0, -np.inf, SCORES)
    for masked in (scores, list(scores), np.ma.array(SCORES.astype(np.float32), mask=SCORES < 0)):
        assert evaluate(scores=masked, relevance=YES).metrics == evaluate(scores=cut, relevance=YES).metrics
    whole = np.ma.array([[3, 1], [2, 5]], mask=[[0, 1], [0, 0]])
    assert evaluate(scores=whole, relevance=[0, 1]).metrics["retrieval"]["MRR"] == 1.0
    text = np.ma.array(SCORES, mask=np.arange(24).reshape(4, 6) == 7)
    for given in (text, list(text)):
        with pytest.raises(EvaluationError, match="masked values"):
            evaluate(text=given, video=SCORES, video_of_caption=[0, 1, 2, 3])
        with pytest.raises(EvaluationError, match="masked values"):
            evaluate(text=SCORES, video=given, video_of_caption=[0, 1, 2, 3])
    tokens = np.ma.array(np.ones((2, 3, 4)), mask=np.arange(24).reshape(2, 3, 4) == 0)
    for given in (tokens, list(tokens)):
        with pytest.raises(EvaluationError, match="masked values"):
            evaluate(text=given, video=np.ones((2, 3, 4)), video_of_caption=[0, 1], similarity="maxsim")
    with pytest.raises(EvaluationError, match=r"video_of_caption has 1 masked values.*\.filled"):
        evaluate(text=SCORES, video=SCORES, video_of_caption=np.ma.array([0, 1, 2, 3], mask=[0, 0, 1, 0]))
    assert (
        evaluate(text=np.ma.array(SCORES), video=SCORES, video_of_caption=np.ma.array([0, 1, 2, 3])).metrics["t2v"][
            "MRR"
        ]
        == 1.0
    )
