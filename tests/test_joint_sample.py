"""Cosines of right and of wrong pairs, on vectors small enough to check by eye."""

import numpy as np

from reelstore.records import JointSample


def test_right_and_wrong_pairs_are_told_apart() -> None:
    video = np.eye(3, dtype=np.float32)
    own = np.array([0, 0, 1, 2])
    cosines = JointSample(video, video[own], own).cosines()
    assert cosines.right.tolist() == [1, 1, 1, 1]
    assert cosines.wrong.tolist() == [0, 0, 0, 0]


def test_one_video_has_no_wrong_pair() -> None:
    one = np.ones((1, 1), dtype=np.float32)
    cosines = JointSample(one, np.ones((2, 1), dtype=np.float32), np.zeros(2, dtype=np.int64)).cosines()
    assert cosines.right.tolist() == [1, 1]
    assert np.isnan(cosines.wrong).all()
