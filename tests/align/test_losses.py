"""InfoNCE against sums written out by hand, where captions repeat."""

import math

import pytest
import torch

from reelstore.align.losses import equal_rows, info_nce


def unit(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


def by_hand(video: torch.Tensor, text: torch.Tensor, scale: float, sentence: list[int]) -> float:
    """-log of the right one's share, one query after the other; the same sentence elsewhere isn't counted."""
    n, total = len(video), 0.0
    for i in range(n):
        others = [j for j in range(n) if j == i or sentence[j] != sentence[i]]
        right = math.exp(scale * float(video[i] @ text[i]))
        total -= math.log(right / sum(math.exp(scale * float(video[i] @ text[j])) for j in others))
        total -= math.log(right / sum(math.exp(scale * float(video[j] @ text[i])) for j in others))
    return total / (2 * n)


@pytest.mark.parametrize("sentence", [[0, 1, 2, 3, 4], [0, 1, 0, 3, 4], [0, 0, 0, 1, 1]], ids=str)
def test_info_nce_is_the_sum_written_out(sentence: list[int]) -> None:
    torch.manual_seed(0)
    video, text = unit(torch.randn(5, 3, dtype=torch.float64)), unit(torch.randn(5, 3, dtype=torch.float64))
    loss = info_nce(video, text, torch.tensor(math.log(10.0)), torch.tensor(sentence))
    assert float(loss) == pytest.approx(by_hand(video, text, 10.0, sentence), abs=1e-6)


def test_captions_that_all_differ_need_no_numbers() -> None:
    torch.manual_seed(0)
    video, text = unit(torch.randn(5, 3)), unit(torch.randn(5, 3))
    scale = torch.tensor(1.0)
    assert torch.equal(info_nce(video, text, scale), info_nce(video, text, scale, torch.arange(5)))


def test_the_same_sentence_twice_pushes_nothing_apart() -> None:
    video = unit(torch.randn(2, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    text = unit(torch.ones(2, 4))
    loss = info_nce(video, text, torch.tensor(1.0), equal_rows(text))
    loss.backward()
    assert float(loss.detach()) == 0
    assert video.grad is not None and not video.grad.any()


def test_equal_rows_share_the_number_of_the_first() -> None:
    assert equal_rows(torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])).tolist() == [0, 1, 0, 3]
