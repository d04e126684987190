"""Each fault of a sample by its check, level and id; healthy samples raise none."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from reelstore.doctor.drift import drift
from reelstore.doctor.embeddings import common_mean, kinds, lengths
from reelstore.doctor.examine import examine
from reelstore.doctor.findings import Check
from reelstore.doctor.hubs import hubs
from reelstore.doctor.pairing import mismatched_captions, probe_checks
from reelstore.doctor.probe import Probe
from reelstore.doctor.sample import Sample
from reelstore.doctor.shifts import off_by_one
from reelstore.doctor.values import repeats, value_checks

N = 400
SPLITS = np.repeat(["train", "validation", "test"], [240, 80, 80])


def drawn(
    n_videos: int = N,
    n_captions: int = 3,
    *,
    noise: float = 0.5,
    seed: int = 0,
    splits: Sequence[str] | np.ndarray | None = None,
) -> Sample:
    """Videos and captions over shared latents, (n_videos, 64) and (n_videos * n_captions, 48) float32."""
    rng = np.random.default_rng(seed)
    latents, owner = rng.normal(size=(n_videos, 12)), np.repeat(np.arange(n_videos), n_captions)
    video = latents @ rng.normal(size=(12, 64)) + noise * rng.normal(size=(n_videos, 64)) + 2
    text = latents[owner] @ rng.normal(size=(12, 48)) + noise * rng.normal(size=(len(owner), 48)) + 1
    split = np.array(SPLITS if splits is None else splits, dtype=np.str_)
    return Sample(
        video=video.astype(np.float32),
        text=text.astype(np.float32),
        video_of_caption=owner,
        splits=split,
        video_ids=[f"v{number}" for number in range(n_videos)],
        captions=[(f"v{number // n_captions}", number % n_captions) for number in range(len(owner))],
        video_places=np.arange(n_videos),
        caption_places=np.arange(len(owner)),
        video_split_places=within(split),
        caption_split_places=within(split[owner]),
    )


def within(split: np.ndarray) -> np.ndarray:
    places = np.empty(len(split), dtype=np.int64)
    for name in np.unique(split):
        places[split == name] = np.arange((split == name).sum())
    return places


def mixed(sample: Sample) -> Sample:
    """The same under splits that don't follow one another."""
    split = np.random.default_rng(1).permutation(sample.splits)
    of_caption = within(split[sample.video_of_caption])
    return dataclasses.replace(sample, splits=split, video_split_places=within(split), caption_split_places=of_caption)


def with_rows(values: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[rows] = new
    return changed


def raised(checks: Sequence[Check]) -> set[str]:
    return {f"{c.level} {c.name} {c.about}".strip() for c in checks if c.level in ("warning", "fatal")}


HEALTHY = drawn()
TEST = np.flatnonzero(SPLITS == "test")


@pytest.mark.parametrize("n_videos", [2, 4, 5, 8, 12, 19, 20, 21, 30, 60])
@pytest.mark.parametrize("n_captions", [1, 4])
def test_small_healthy_sets_raise_nothing(n_videos: int, n_captions: int) -> None:
    n_test, n_validation = max(n_videos // 5, 1), min(max(n_videos // 10, 1), 4)
    counts = [n_videos - n_test - n_validation, n_validation, n_test]
    sample = drawn(n_videos, n_captions, splits=np.repeat(["train", "validation", "test"], np.maximum(counts, 0)))
    checks = examine(sample)
    assert raised(checks) == set()
    (probe,) = [check for check in checks if check.name == "probe"]
    assert probe.level == "note" and "Too few videos to tell" in probe.meaning


@pytest.mark.parametrize("splits", [["test"], ["train"], ["train", "test"], ["train", "validation"], ["all"]])
@pytest.mark.parametrize("noise", [0.02, 1.5])
def test_healthy_sets_raise_nothing_whichever_splits_there_are(splits: list[str], noise: float) -> None:
    sample = drawn(120, 2, noise=noise, splits=np.sort(np.resize(splits, 120))[::-1])
    assert raised(examine(sample)) == set()


def test_shuffled_pairs_raise_nothing_beside_a_constant_tower() -> None:
    sample = dataclasses.replace(HEALTHY, text=np.ones_like(HEALTHY.text))
    assert raised(examine(sample)) == {"warning common-mean text"}  # the stage adds that it is constant


def test_a_common_mean_is_a_note_where_captions_find_their_videos_all_the_same() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N, 64)) + 6
    sample = drawn(N, 1)
    shared = dataclasses.replace(sample, video=values, text=values + 0.01 * rng.normal(size=values.shape))
    found = {check.about: check for check in examine(shared) if check.name == "common-mean"}
    assert {check.level for check in found.values()} == {"note"}
    lost = common_mean(values * 1e-4 + 6, "text/mean")
    assert lost.level == "warning" and "cosine 1.000" in lost.meaning
    assert all(word in lost.advice for word in ("Centre or standardise", "drop_first", "layer or pooling"))


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("arrange", [lambda sample: sample, mixed], ids=["in order", "mixed"])
@pytest.mark.parametrize("where", ["all", "train", "test"])
def test_keys_off_by_one_are_named(by: int, arrange: Callable[[Sample], Sample], where: str) -> None:
    sample = arrange(HEALTHY)
    rows = np.arange(N) if where == "all" else np.flatnonzero(sample.splits == where)
    rolled = dataclasses.replace(sample, video=with_rows(sample.video, rows, np.roll(sample.video[rows], by, axis=0)))
    (check,) = off_by_one(Probe(rolled))
    assert (check.level, check.about) == ("fatal", "" if where == "all" else where)
    assert f"at shift {-by:+d} against" in check.meaning and "off by one" in check.meaning
    assert check.value > 0.2


@pytest.mark.parametrize("by", [-1, 1])
def test_captions_off_by_one_are_named(by: int) -> None:
    (check,) = off_by_one(Probe(dataclasses.replace(HEALTHY, text=np.roll(HEALTHY.text, by, axis=0))))
    assert (check.level, check.about) == ("fatal", "captions")
    rows = np.flatnonzero(HEALTHY.caption_splits == "test")
    rolled = with_rows(HEALTHY.text, rows, np.roll(HEALTHY.text[rows], by, axis=0))
    (check,) = off_by_one(Probe(dataclasses.replace(HEALTHY, text=rolled)))
    assert (check.level, check.about) == ("fatal", "captions of test")


def test_neighbours_that_are_alike_are_not_keys_off_by_one() -> None:
    sample = drawn()
    rng = np.random.default_rng(3)
    walk = np.cumsum(rng.normal(size=(N, 12)), axis=0)
    walk = walk - np.linspace(0, 1, N)[:, None] * walk[-1]
    video = walk @ rng.normal(size=(12, 64)) + 3 * rng.normal(size=(N, 64))
    text = walk[sample.video_of_caption] @ rng.normal(size=(12, 48)) + 3 * rng.normal(size=(3 * N, 48))
    (check,) = off_by_one(Probe(dataclasses.replace(sample, video=video, text=text)))
    assert check.level == "ok"


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_a_split_joined_otherwise_is_named(split: str) -> None:
    rows = np.flatnonzero(split == SPLITS)
    shuffled = HEALTHY.video[np.random.default_rng(0).permutation(rows)]
    sample = dataclasses.replace(HEALTHY, video=with_rows(HEALTHY.video, rows, shuffled))
    found = raised(probe_checks(Probe(sample)))
    if split == "train":  # nothing can be learned then, in any split
        assert "fatal probe" in found
    else:
        assert found == {f"fatal split-probe {split}"}


MADE_OTHERWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "scaled": lambda rows, every: 2 * rows,
    "of length 1": lambda rows, every: rows / np.linalg.norm(rows, axis=1, keepdims=True),
    "centred": lambda rows, every: rows - every.mean(axis=0),
    "standardised": lambda rows, every: (rows - every.mean(axis=0)) / every.std(axis=0),
    "of other dimensions": lambda rows, every: rows[:, np.random.default_rng(0).permutation(rows.shape[1])],
    "rotated": lambda rows, every: rows @ np.linalg.qr(np.random.default_rng(0).normal(size=[rows.shape[1]] * 2))[0],
    "of another encoder": lambda rows, every: np.random.default_rng(0).normal(size=rows.shape) * every.std(),
    "rounded": lambda rows, every: (rows.view(np.uint32) & 0xFFFF0000).view(np.float32),
    "half of them rotated": lambda rows, every: np.r_[rows[::2, ::-1], rows[1::2]],
}


@pytest.mark.parametrize("how", MADE_OTHERWISE)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_made_otherwise_is_named(how: str, split: str) -> None:
    rows = np.flatnonzero(split == SPLITS)
    new = MADE_OTHERWISE[how](HEALTHY.video[rows], HEALTHY.video)
    found = raised(drift(with_rows(HEALTHY.video, rows, new), SPLITS, "train", "video/mean"))
    assert found == {f"warning drift video/mean {split}"}


def test_rows_of_two_kinds_are_named() -> None:
    names = [f"v{number}" for number in range(N)]
    assert kinds(HEALTHY.video, names, "video").level == "ok"
    values = HEALTHY.video + 6
    assert kinds(values, names, "video").level == "ok"
    check = kinds(with_rows(values, np.arange(7, N, 3), values[7::3] @ np.diag([1, -1] * 32)), names, "video")
    assert (check.level, "v7" in check.meaning) == ("warning", True)


def test_hubs_are_named_with_their_id_in_both_directions() -> None:
    sample = dataclasses.replace(HEALTHY, text=HEALTHY.text + 3)
    assert raised(hubs(sample, Probe(sample), shared=False)) == set()
    rng = np.random.default_rng(0)
    rows = TEST[:12]
    near_text = np.pad(sample.text.mean(axis=0), (0, 16)) + 1e-3 * rng.normal(size=(12, 64))
    found = hubs(dataclasses.replace(sample, video=with_rows(sample.video, rows, near_text)), None, shared=False)
    (check,) = [check for check in found if check.level == "warning"]
    assert check.about == "t2v test, as stored" and "12 hubs are the nearest of 100.0%" in check.meaning
    assert any(f"Video v{row} " in check.meaning for row in rows)
    sample = dataclasses.replace(HEALTHY, video=HEALTHY.video + 3, text=HEALTHY.text - 1)
    assert raised(hubs(sample, None, shared=False)) == set()
    captions = np.flatnonzero(sample.caption_splits == "test")[:12]
    near_video = sample.video.mean(axis=0)[:48] + 1e-3 * rng.normal(size=(12, 48))
    found = hubs(dataclasses.replace(sample, text=with_rows(sample.text, captions, near_video)), None, shared=False)
    (check,) = [check for check in found if check.level == "warning"]
    assert check.about == "v2t test, as stored" and "Caption v32" in check.meaning


def test_rows_that_rule_dot_products_are_named() -> None:
    values = with_rows(HEALTHY.video, np.array([5]), 20 * HEALTHY.video[5])
    check = lengths(values, HEALTHY.video_ids, "video/mean")
    assert check.level == "warning" and "v5 is the longest row" in check.meaning
    assert lengths(HEALTHY.video, HEALTHY.video_ids, "video/mean").level == "ok"


MIDDLE = float(np.median(np.abs(HEALTHY.video)))
VALUES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "half at float16's limit": (lambda v: np.clip(v * (65504 / MIDDLE), -65504, 65504), "fatal clipped"),
    "the same as float16": (lambda v: np.clip(v * (65504 / MIDDLE), -65504, 65504).astype(np.float16), "fatal clipped"),
    "half at another value": (lambda v: np.clip(v, -MIDDLE, MIDDLE), "fatal clipped"),
    "two percent": (lambda v: np.clip(v, *np.quantile(v, [0.01, 0.99])), "warning clipped"),
    "every dimension by itself": (lambda v: np.minimum(v, np.quantile(v, 0.7, axis=0)), "fatal clipped"),
    "one split": (lambda v: with_rows(v, TEST, np.clip(v[TEST], -1, 1)), "fatal clipped"),
    "underflow": (lambda v: (v * 1e-7).astype(np.float16), "fatal underflow"),
    "underflow, stored as float32": (lambda v: (v * 1e-6).astype(np.float16).astype(np.float32), "fatal underflow"),
    "half to 0": (lambda v: np.where(np.abs(v) < MIDDLE, 0, v), "fatal underflow"),
    "not a number": (lambda v: with_rows(v, np.array([3]), np.array([np.nan])), "fatal values"),
    "infinite": (lambda v: with_rows(v, np.array([3]), np.array([np.inf])), "fatal values"),
}


@pytest.mark.parametrize("what", VALUES)
def test_values_that_lost_something_are_named(what: str) -> None:
    change, named = VALUES[what]
    assert raised(value_checks(change(HEALTHY.video), SPLITS, "video/mean")) == {f"{named} video/mean"}


HEALTHY_VALUES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32": lambda v: v,
    "float16": lambda v: v.astype(np.float16),
    "of length 1": lambda v: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float16),
    "after a ReLU": lambda v: np.maximum(v, 0),
    "a ReLU, standardised": lambda v: (np.maximum(v, 0) - 1) / 3,
    "binary": lambda v: np.sign(v),
    "tiny, float32": lambda v: v * np.float32(1e-7),
    "padded with zeros": lambda v: np.pad(v, ((0, 0), (0, 3))),
}


@pytest.mark.parametrize("what", HEALTHY_VALUES)
def test_healthy_values_raise_nothing(what: str) -> None:
    assert raised(value_checks(HEALTHY_VALUES[what](HEALTHY.video), SPLITS, "video/mean")) == set()


def test_dimensions_that_carry_nothing_are_noted() -> None:
    values = HEALTHY.video.copy()
    values[:, 8:24] = 0.25
    (check,) = [c for c in value_checks(values, SPLITS, "video/mean") if c.level != "ok"]
    assert (check.name, check.level, check.value) == ("constant-dims", "note", 0.25)
    assert "dimension 8 first" in check.meaning


def test_rows_that_share_one_embedding_are_named_with_ids() -> None:
    names, files = HEALTHY.video_ids, [f"file {number}" for number in range(N)]
    groups = ((np.arange(100), "train", "fatal"), (TEST[:20], "test", "fatal"), (np.arange(5), "train", "warning"))
    for rows, split, level in groups:
        same = with_rows(HEALTHY.video, rows, HEALTHY.video[rows[0]])
        for contents in (files, None):
            (check,) = repeats(same, SPLITS, names, contents, "video/mean")
            assert check.level == level and check.meaning.startswith(f"{split}: {len(rows) - 1} of ")
            assert f"such as v{rows[0]} and v{rows[1]}" in check.meaning
        known = with_rows(np.array(files, dtype=object), rows, files[rows[0]]).tolist()
        assert repeats(same, SPLITS, names, known, "video/mean")[0].level == "ok", "one file has one embedding"


@pytest.mark.parametrize("noise", [0, 1e-5])
def test_captions_of_one_embedding_are_named_unless_their_texts_are_one(noise: float) -> None:
    rng = np.random.default_rng(0)
    names = [f"{video}/{number}" for video, number in HEALTHY.captions]
    rows = np.sort(rng.permutation(3 * N)[:360])
    same = with_rows(HEALTHY.text, rows, HEALTHY.text[rows[0]] + noise * rng.normal(size=(360, 48)).astype(np.float32))
    texts = [f"text {number}" for number in range(3 * N)]
    (check,) = repeats(same, HEALTHY.caption_splits, names, texts, "text/mean")
    assert (check.level, check.name) == ("fatal", "repeats") and "though their texts differ" in check.meaning
    assert repeats(same, HEALTHY.caption_splits, names, None, "text/mean")[0].level == "fatal"
    repeated = with_rows(np.array(texts, dtype=object), rows, "dance").tolist()
    assert repeats(same, HEALTHY.caption_splits, names, repeated, "text/mean")[0].level == "ok"


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("n_captions", [3, 6])
def test_captions_given_to_wrong_videos_are_named_with_their_share(share: float, n_captions: int) -> None:
    sample = drawn(n_captions=n_captions)
    assert raised(mismatched_captions(Probe(sample))) == set()
    rows = np.random.default_rng(0).permutation(len(sample.text))[: round(share * len(sample.text))]
    text = with_rows(sample.text, rows, np.roll(sample.text[rows], 1, axis=0))
    found = {check.about: check for check in mismatched_captions(Probe(dataclasses.replace(sample, text=text)))}
    assert found["train"].level == "warning" and found["train"].value == pytest.approx(share, abs=0.15)


def test_captions_given_to_wrong_videos_in_one_split_are_named_there() -> None:
    rows = np.random.default_rng(0).permutation(np.flatnonzero(HEALTHY.caption_splits == "test"))[:80]
    text = with_rows(HEALTHY.text, rows, np.roll(HEALTHY.text[rows], 1, axis=0))
    assert raised(mismatched_captions(Probe(dataclasses.replace(HEALTHY, text=text)))) == {
        "warning wrong-captions test"
    }
