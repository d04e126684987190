"""Zero-padding two towers to one width."""

import numpy as np

from reelstore.evaluation import evaluate, pad_to_same_width


def test_the_narrower_side_is_padded_with_zeros_at_the_end():
    video, text = np.ones((2, 5), dtype=np.float16), np.full((3, 2), 2, dtype=np.float32)
    wide_text, wide_video = pad_to_same_width(text=text, video=video)
    assert wide_video is video
    assert wide_text.dtype == np.float32
    assert wide_text.tolist() == [[2, 2, 0, 0, 0]] * 3
    assert pad_to_same_width(text=video, video=text)[1].shape == (3, 5)


def test_padding_is_the_same_as_cutting_the_wider_side_for_a_dot_product():
    generator = np.random.default_rng(0)
    video, text = generator.normal(size=(8, 6)), generator.normal(size=(20, 4))
    owner = np.arange(20) % 8
    text_padded, video_padded = pad_to_same_width(text=text, video=video)
    padded = evaluate(text=text_padded, video=video_padded, video_of_caption=owner, similarity="dot")
    assert padded.metrics == evaluate(text=text, video=video[:, :4], video_of_caption=owner, similarity="dot").metrics
