"""Losses against sums written out by hand, torch's own, and themselves in pieces."""

import math

import pytest
import torch
from torch import Tensor

from reelstore.align.training.losses import LOSSES, MAX_LOGIT_SCALE, Loss, Pairs, make_loss
from reelstore.errors import ParamsError

SCALE = 10.0
CONTRASTIVE = [name for name, loss in LOSSES.items() if not loss.labelled]


def unit(values: Tensor) -> Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


def drawn(n: int = 6, *, of_video: list[int] | None = None, sentence: list[int] | None = None) -> Pairs:
    torch.manual_seed(0)
    video, text = (unit(torch.randn(n, 4, dtype=torch.float64)).requires_grad_() for _ in range(2))
    label = torch.tensor([1.0, 0.0] * n)[:n].double()
    numbers = [torch.tensor(given or list(range(n))) for given in (of_video, sentence)]
    return Pairs(video, text, *numbers, label)


def loss_of(name: str, **settings) -> Loss:
    return make_loss(name, temperature=1 / SCALE, **settings).double()


def log_share(query: Tensor, answers: list[Tensor], one: Tensor) -> float:
    shares = [math.exp(SCALE * float((query @ answer).detach())) for answer in [one, *answers]]
    return math.log(shares[0] / sum(shares[1:]))


def by_hand(pairs: Pairs, *, multi: bool) -> float:
    """-log of the right ones' share, one query after the other, in both directions."""
    n, total = len(pairs), 0.0
    video, text, of_video, sentence = pairs.video, pairs.text, pairs.of_video.tolist(), pairs.sentence.tolist()
    for queries, answers in ((video, text), (text, video)):
        for i in range(n):
            same = [j for j in range(n) if of_video[j] == of_video[i]]
            right = same if multi else [i]
            left_out = {j for j in range(n) if sentence[j] == sentence[i] and j not in same}
            left_out |= set() if multi else set(same) - {i}
            among = [answers[j] for j in range(n) if j not in left_out]
            total -= sum(log_share(queries[i], among, answers[j]) for j in right) / len(right)
    return total / (2 * n)


BATCHES = pytest.mark.parametrize(
    ("of_video", "sentence"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 0, 2, 3, 0, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 0, 2, 3, 4, 5], [0, 1, 1, 3, 3, 3]),
    ],
    ids=["all differ", "videos repeat", "sentences repeat too"],
)


@BATCHES
def test_infonce_is_the_sum_written_out(of_video, sentence) -> None:
    pairs = drawn(of_video=of_video, sentence=sentence)
    assert float(loss_of("infonce")(pairs).detach()) == pytest.approx(by_hand(pairs, multi=False))


@BATCHES
def test_multi_positive_is_the_sum_written_out(of_video, sentence) -> None:
    pairs = drawn(of_video=of_video, sentence=sentence)
    assert float(loss_of("multi-positive")(pairs).detach()) == pytest.approx(by_hand(pairs, multi=True))


@BATCHES
def test_siglip_is_a_yes_or_no_question_for_every_pair(of_video, sentence) -> None:
    pairs, total = drawn(of_video=of_video, sentence=sentence), 0.0
    for i in range(6):
        for j in range(6):
            right = of_video[i] == of_video[j]
            if right or sentence[i] != sentence[j]:
                logit = SCALE * float((pairs.video[i] @ pairs.text[j]).detach()) - 10
                total += math.log1p(math.exp(-logit if right else logit))
    assert float(loss_of("siglip")(pairs).detach()) == pytest.approx(total / 6)


def test_mse_and_margin_are_torchs() -> None:
    pairs = drawn()
    cosine = torch.cosine_similarity(pairs.video, pairs.text)
    assert torch.allclose(loss_of("mse")(pairs), torch.nn.MSELoss()(cosine, pairs.label))
    expected = torch.nn.CosineEmbeddingLoss(margin=0.1)(pairs.video, pairs.text, 2 * pairs.label - 1)
    assert torch.allclose(loss_of("margin", margin=0.1)(pairs), expected)


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("chunk", [1, 4, 5])
def test_in_chunks_loss_and_gradients_are_those_of_the_whole(name: str, chunk: int) -> None:
    found = []
    for size in (0, chunk):
        pairs, loss = (
            drawn(11, of_video=[0, 0, *range(2, 11)], sentence=[0, 1, 2, 2, *range(4, 11)]),
            loss_of(name, chunk=size),
        )
        value = loss(pairs)
        value.backward()
        found.append([value.detach(), pairs.video.grad, pairs.text.grad, *(p.grad for p in loss.parameters())])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_in_chunks_no_more_logits_are_kept_than_the_chunks(name: str) -> None:
    """What autograd keeps for going backward, in elements."""

    def kept(chunk: int) -> int:
        n_elements = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal n_elements
            n_elements += tensor.numel()
            return tensor

        pairs, loss = drawn(200), loss_of(name, chunk=chunk)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss(pairs)
        return n_elements

    assert kept(0) > 200 * 200
    assert kept(20) < 200 * 200 / 2


def test_the_same_sentence_twice_pushes_nothing_apart() -> None:
    video = unit(torch.randn(2, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    pairs = Pairs(video, unit(torch.ones(2, 4)), torch.arange(2), torch.zeros(2, dtype=torch.int64), torch.ones(2))
    loss = make_loss("infonce")(pairs)
    loss.backward()
    assert float(loss.detach()) == 0
    assert video.grad is not None and not video.grad.any()


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_constant_loss_is_the_least_that_equal_cosines_allow(name: str) -> None:
    """Over all cosines, scales and biases that collapsed towers could have."""
    n, found = 8, []
    label = torch.tensor([1.0, 0.0, 0.0, 0.0] * 2)
    for cosine in torch.linspace(-1, 1, 41):
        angle = float(cosine.clamp(-1, 1).acos())
        video, text = torch.tensor([[1.0, 0.0]] * n), torch.tensor([[math.cos(angle), math.sin(angle)]] * n)
        pairs = Pairs(video, text, torch.arange(n), torch.arange(n), label)
        for bias in torch.linspace(-4, 0, 41) if name == "siglip" else [None]:
            loss = make_loss(name, margin=0.2)
            if bias is not None:
                loss.bias.data, loss.logit_scale.data = bias, torch.tensor(0.0)
            found.append(float(loss(pairs).detach()))
    assert min(found) == pytest.approx(make_loss(name, margin=0.2).constant(n, 0.25), abs=2e-3)


def test_the_temperature_stays_within_bounds() -> None:
    loss = make_loss("infonce", temperature=1e-9)
    loss.clamp()
    assert loss.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)


def test_an_unknown_loss_names_those_there_are() -> None:
    with pytest.raises(ParamsError, match="infonce, multi-positive, siglip"):
        make_loss("triplet")
