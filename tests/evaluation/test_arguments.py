"""Every argument of the public functions, swapped for values of other types: what is meant, or one clear error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import coo_array, csr_matrix

import reelstore
from reelstore.errors import EvaluationError, ReelstoreError
from reelstore.evaluation import MaxSim, bootstrap, confidence_intervals, evaluate, pad_to_same_width
from reelstore.evaluation.compare import compare
from reelstore.evaluation.rescoring import DualSoftmax, InvertedSoftmax, QueryBank, evaluate_rescored

TEXT = np.random.default_rng(0).normal(size=(4, 3))
VIDEO = np.random.default_rng(1).normal(size=(3, 3))
OWNER = [0, 1, 2, 2]
ODD: list[Any] = [
    None,
    True,
    False,
    np.True_,
    -1,
    0,
    1,
    2,
    10**12,
    10**30,
    1.0,
    2.5,
    float("nan"),
    float("inf"),
    1j,
    np.float32(1),
    np.int8(1),
    np.uint64(2**64 - 1),
    "",
    "1",
    "cosine",
    "t2v",
    b"1",
    bytearray(b"x"),
    [],
    (),
    {},
    set(),
    [1],
    (1, 5),
    [1.0],
    ["1"],
    [None],
    [True],
    {"a": 1},
    {1, 5},
    {0: [1]},
    range(3),
    iter([1, 5]),
    object(),
    object,
    len,
    Ellipsis,
    slice(2),
    np.array(5),
    np.array([1, 5]),
    np.array([1.0, 5.0]),
    np.array(["a"]),
    np.array([None, 1]),
    np.zeros((0, 3)),
    np.zeros((2, 2, 2)),
    np.eye(3, dtype=bool),
    np.eye(3, dtype=complex),
    np.eye(3).astype(str),
    np.eye(3).astype(object),
    np.array(["2020-01-01"], "datetime64[D]"),
    [[1, 2], [3]],
    [["a", "b"]],
    [np.eye(2), np.eye(3)],
    np.ma.array([1, 2], mask=[0, 1]),
    np.ma.masked,
    np.rec.array([(1, 2.0)]),
    torch.tensor(5),
    torch.tensor([1, 5]),
    torch.tensor([[1, 2]]).bfloat16(),
    torch.eye(3).to_sparse(),
    torch.eye(3, dtype=torch.bool),
    torch.eye(3, dtype=torch.complex64),
    torch.eye(3, device="meta"),
    [torch.ones(3, requires_grad=True)] * 4,
    csr_matrix(np.eye(3)),
    coo_array(np.eye(3)),
    pd.Series([1, 5]),
    pd.DataFrame(np.eye(3)),
    pd.DataFrame({"a": ["x"]}),
    pd.Series([1, None], dtype="Int64"),
]

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "evaluate": (
        reelstore.evaluate,
        {
            "text": TEXT,
            "video": VIDEO,
            "video_of_caption": OWNER,
            "similarity": "cosine",
            "relevant_from": 1.0,
            "gain": "linear",
            "ks": (1, 5),
            "ties": "expected",
            "v2t": "best",
            "directions": ("t2v",),
            "return_hard_negatives": True,
            "memory": 2**20,
            "device": None,
        },
    ),
    "evaluate, relevance": (reelstore.evaluate, {"text": TEXT, "video": VIDEO, "relevance": OWNER}),
    "evaluate, scores": (reelstore.evaluate, {"scores": TEXT, "relevance": OWNER}),
    "evaluate, maxsim": (
        reelstore.evaluate,
        {"text": TEXT[:, None], "video": VIDEO[:, None], "video_of_caption": OWNER, "similarity": "maxsim"},
    ),
    "nearest": (reelstore.nearest, {"queries": TEXT, "items": VIDEO, "k": 2, "similarity": "cosine", "memory": 2**20}),
    "MaxSim": (
        MaxSim,
        {"text": TEXT[:, None], "video": VIDEO[:, None], "similarity": "cosine", "over": "text", "total": "mean"},
    ),
    "evaluate_rescored": (
        evaluate_rescored,
        {
            "text": TEXT,
            "video": VIDEO,
            "video_of_caption": OWNER,
            "rescoring": QueryBank(),
            "bank_text": TEXT,
            "bank_video": VIDEO,
            "similarity": "cosine",
            "ks": 1,
            "ties": "expected",
            "return_hard_negatives": False,
        },
    ),
    "confidence_intervals": (
        confidence_intervals,
        {"evaluation": evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER), "level": 0.9},
    ),
    "bootstrap": (bootstrap, {"evaluation": evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER), "level": 0.9}),
    "compare": (
        compare,
        {
            "first": evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER).t2v.values,
            "second": evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER).t2v.values,
            "video": np.array(OWNER),
            "n_resamples": 20,
            "seed": 0,
            "level": 0.9,
        },
    ),
    "pad_to_same_width": (pad_to_same_width, {"video": VIDEO, "text": TEXT}),
    "DualSoftmax": (DualSoftmax, {"scale": 1.0}),
    "InvertedSoftmax": (InvertedSoftmax, {"scale": 1.0}),
    "QueryBank": (QueryBank, {"scale": 1.0, "k": 1}),
}
SWAPS = [(call, name) for call, (_, arguments) in CALLS.items() for name in arguments]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "name"), SWAPS, ids=lambda part: part)
def test_an_argument_of_another_type_gives_a_value_or_one_clear_error(call, name):
    function, arguments = CALLS[call]
    for odd in ODD:
        try:
            function(**{**arguments, name: odd})
        except ReelstoreError as error:
            assert 10 < len(str(error)) < 2000, (odd, error)


@pytest.mark.parametrize(
    "ks",
    [
        [1, 5],
        (5, 1)[::-1],
        np.array([1, 5]),
        np.array([1, 5], np.uint8),
        torch.tensor([1, 5]),
        pd.Series([1, 5]),
        range(1, 6, 4),
        iter([1, 5]),
        [np.int64(1), 5],
        [1, 5, 1],
        {1: 0, 5: 0}.keys(),
    ],
)
def test_cut_offs_in_any_form_are_those_that_are_meant(ks):
    found = evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=ks)
    assert found.ks == (1, 5)
    assert found.metrics == evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=(1, 5)).metrics


@pytest.mark.parametrize("ks", [5, np.int8(5), np.array(5), torch.tensor(5), [5]])
def test_one_cut_off_needs_no_list(ks):
    assert (
        evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=ks).metrics
        == evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=(5,)).metrics
    )
    assert reelstore.nearest(TEXT, VIDEO, np.int64(2)).item.tolist() == reelstore.nearest(TEXT, VIDEO, 2).item.tolist()


def test_a_cut_off_beyond_the_items_takes_no_memory_and_finds_everything():
    found = evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=2**31 - 1).metrics
    assert found["t2v"]["R@2147483647"] == found["v2t"]["recall@2147483647"] == 1.0
    assert (
        found["t2v"]["nDCG@2147483647"]
        == evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=100).metrics["t2v"]["nDCG@100"]
    )
    graded = [[3, 1, 0], [0, 2, 1], [0, 0, 1], [1, 0, 2]]
    options = {"relevance": graded, "ks": 2**31 - 1}
    assert evaluate(text=TEXT, video=VIDEO, **options).metrics["t2v"]["nDCG@2147483647"] <= 1


@pytest.mark.parametrize(
    ("ks", "says"),
    [
        (0, "is 0; it must be at least 1"),
        (-1, "at least 1"),
        ([1, 0], "at least 1"),
        (2**31, "at most 2147483647"),
        ((), "ks is empty"),
        (1.0, "is 1.0; a whole number is expected"),
        ([1, 5.0], "is 5.0"),
        (np.array([1.0]), "whole number"),
        (True, "is True"),
        ([True], "is True"),
        (np.array([True]), "whole number"),
        ("15", "is '15'; a whole number"),
        (["1"], "is '1'; a whole"),
        (b"\x01", "whole number"),
        (None, "is None"),
        ([None], "is None"),
        ({1: 5}, "whole number"),
        ([[1, 5]], "whole number"),
        (float("nan"), "is nan"),
    ],
)
def test_what_is_no_cut_off_is_refused_in_one_line(ks, says):
    for function in (
        lambda: evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=ks),
        lambda: evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER).curve("t2v", ks),
    ):
        with pytest.raises(EvaluationError, match=says) as caught:
            function()
        assert "\n" not in str(caught.value)


def test_a_direction_may_be_named_alone():
    assert (
        evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, directions="v2t").metrics
        == evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, directions=["v2t"]).metrics
    )
