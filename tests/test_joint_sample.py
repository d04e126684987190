"""Cosines of positive and of negative pairs, on vectors small enough to check by eye."""

import numpy as np

from reelstore.records import JointSample


def test_positive_and_negative_pairs_are_told_apart() -> None:
    video = np.eye(3, dtype=np.float32)
    own = np.array([0, 0, 1, 2])
    cosines = JointSample(video=video, text=video[own], video_of_caption=own).cosines()
    assert cosines.positive.tolist() == [1, 1, 1, 1]
    assert cosines.negative.tolist() == [0, 0, 0, 0]


def test_one_video_has_no_negative_pair() -> None:
    one = np.ones((1, 1), dtype=np.float32)
    cosines = JointSample(
        video=one, text=np.ones((2, 1), dtype=np.float32), video_of_caption=np.zeros(2, dtype=np.int64)
    ).cosines()
    assert cosines.positive.tolist() == [1, 1]
    assert np.isnan(cosines.negative).all()
