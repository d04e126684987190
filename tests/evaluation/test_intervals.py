"""Intervals by bootstrap over videos."""

import numpy as np
import pytest

from reelstore.evaluation import bootstrap, evaluate


def related(n_captions: int, n_videos: int, *, noise: float, seed: int = 0):
    generator = np.random.default_rng(seed)
    video = generator.normal(size=(n_videos, 16))
    owner = np.arange(n_captions) % n_videos
    return video[owner] + noise * generator.normal(size=(n_captions, 16)), video, owner


def test_an_interval_holds_its_score_and_is_the_same_for_the_same_seed():
    found = evaluate(*related(300, 50, noise=2.0))
    intervals = bootstrap(found, n_resamples=300)
    for direction in ("t2v", "v2t"):
        for name, ends in intervals[direction].items():
            assert ends["low"] <= found.metrics[direction][name] <= ends["high"]
    assert set(intervals["t2v"]) == set(found.metrics["t2v"]) - {"MedR"}
    assert bootstrap(found, n_resamples=300) == intervals
    assert bootstrap(found, n_resamples=300, seed=1) != intervals


def test_the_interval_agrees_with_resampling_one_video_at_a_time():
    found = evaluate(*related(90, 30, noise=2.0))
    generator = np.random.default_rng(0)
    means = []
    for drawn in generator.integers(30, size=(400, 30)):
        values = [found.t2v.values["MRR"][found.t2v.video == video] for video in drawn]
        means.append(np.concatenate(values).mean())
    ends = bootstrap(found, n_resamples=400, seed=0)["t2v"]["MRR"]
    assert [ends["low"], ends["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_copies_of_captions_make_no_interval_narrower():
    text, video, owner = related(60, 30, noise=2.0)
    once = bootstrap(evaluate(text, video, owner), n_resamples=200)["t2v"]["MRR"]
    often = bootstrap(evaluate(np.tile(text, (10, 1)), video, np.tile(owner, 10)), n_resamples=200)["t2v"]["MRR"]
    assert often == pytest.approx(once)


def test_videos_without_captions_leave_no_hole():
    text, video, _ = related(5, 40, noise=0.1)
    intervals = bootstrap(evaluate(text, video, np.arange(5)), n_resamples=200)
    assert all(np.isfinite(list(ends.values())).all() for side in intervals.values() for ends in side.values())
