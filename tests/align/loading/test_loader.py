"""Batches from a store: the right rows, in an order that seed and epoch give, whoever asks and from where on."""

import hashlib
import pickle
import threading
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from reelstore.align.loading.batches import PairBatch
from reelstore.align.loading.loader import PairLoader
from reelstore.align.pairing import LabelledPairs
from reelstore.arrays import Tokens
from reelstore.errors import AlignerError, FailedRowError
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

N_VIDEOS, CAPTIONS_PER_VIDEO, DIM, N_TOKENS = 103, 2, 5, 3
BLOCKS_BYTES = {"pooled": 2000, "dense": 6000, "ragged": 5000}
"""Room for two windows of 24 pairs, not for all 103 (3,090, 9,270 and 7,650 bytes)."""

SHUFFLES = pytest.mark.parametrize("shuffle", ["rows", "blocks"])


def write(folder: Path, side: str, keys: list, values: list[np.ndarray | None], layout: str) -> Rows:
    """None is a row that failed."""
    n_tokens = {"pooled": 0, "dense": N_TOKENS, "ragged": None}[layout]
    spec = VariantSpec(side, "drawn", "mean" if layout == "pooled" else "tokens", DIM, n_tokens, "float16", {})
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, ["train"] * len(keys), row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(folder / side / "drawn" / spec.variant, spec, table)
    for row, value in zip(update.todo, values, strict=True):
        if value is None:
            update.fail(int(row), "broken")
        else:
            update.put(int(row), value.astype(np.float32))
    update.finish()
    return open_variant(folder / side / "drawn" / spec.variant)


class Drawn:
    """103 videos with two captions each, written to a store; the views of them are in another order than the store."""

    def __init__(self, folder: Path, layout: str, *, failed: int | None = None) -> None:
        rng = np.random.default_rng(7)
        shape = {"pooled": lambda: (DIM,), "dense": lambda: (N_TOKENS, DIM), "ragged": lambda: (rng.integers(6), DIM)}
        ids = [f"v{number}" for number in range(N_VIDEOS)]
        keys = [(key, index) for key in ids for index in range(CAPTIONS_PER_VIDEO)]
        videos = [rng.normal(size=shape[layout]()).astype(np.float16) for _ in ids]
        captions = [rng.normal(size=shape[layout]()).astype(np.float16) for _ in keys]
        video_order, caption_order = rng.permutation(N_VIDEOS), rng.permutation(len(keys))
        self.layout = layout
        self.written = [videos[n] for n in video_order], [captions[n] for n in caption_order]
        written = [None if number == failed else value for number, value in enumerate(videos)]
        self.videos = write(folder, "video", ids, written, layout).select([ids[n] for n in video_order])
        self.captions = write(folder, "text", keys, captions, layout).select([keys[n] for n in caption_order])
        self.video_of_caption = np.argsort(video_order)[caption_order // CAPTIONS_PER_VIDEO]

    def loader(self, shuffle: str = "rows", **settings) -> PairLoader:
        memory = {"memory_bytes": BLOCKS_BYTES[self.layout]} if shuffle == "blocks" else {}
        settings = {"batch_size": 8, "seed": 0, "block_rows": 6, "window_blocks": 4, **memory, **settings}
        made = PairLoader(video=self.videos, text=self.captions, **{"pairs": self.video_of_caption, **settings})
        assert made.shuffle == shuffle
        return made

    def of(self, batch: PairBatch) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What was written for a batch's videos and captions."""
        videos, captions = self.written
        return [videos[n] for n in batch.video_positions], [captions[n] for n in batch.caption_positions]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    return {
        layout: Drawn(tmp_path_factory.mktemp(layout) / "store" / "drawn", layout)
        for layout in ["pooled", "dense", "ragged"]
    }


def captions_of(batches) -> list[list[int]]:
    return [batch.caption_positions.tolist() for batch in batches]


@SHUFFLES
@pytest.mark.parametrize("layout", ["pooled", "dense"])
def test_items_of_a_batch_are_what_was_written(drawn, layout, shuffle) -> None:
    batches = list(drawn[layout].loader(shuffle))
    assert len(batches) == 12
    for batch in batches:
        video, text = drawn[layout].of(batch)
        assert batch.video.dtype == batch.text.dtype == torch.float32
        np.testing.assert_array_equal(batch.video, np.stack(video))
        np.testing.assert_array_equal(batch.text, np.stack(text))


@SHUFFLES
def test_tokens_come_one_behind_the_other_or_padded(drawn, shuffle) -> None:
    ragged, padded = (drawn["ragged"].loader(shuffle, tokens=tokens) for tokens in ("ragged", "padded"))
    for one, other in zip(ragged, padded, strict=True):
        for side, want in zip(("video", "text"), drawn["ragged"].of(one), strict=True):
            tokens, offsets = getattr(one, side)
            np.testing.assert_array_equal(tokens, np.concatenate(want))
            np.testing.assert_array_equal(offsets, np.cumsum([0, *map(len, want)]))
            values, mask = getattr(other, side)
            assert values.shape == (8, max(map(len, want)), DIM)
            assert mask.sum(dim=1).tolist() == [len(item) for item in want]
            assert not values[~mask].any()
            np.testing.assert_array_equal(values[mask], tokens)


@SHUFFLES
@pytest.mark.parametrize("tokens", ["padded", "ragged"])
def test_where_there_is_a_gpu_values_are_pinned_and_the_same(drawn, shuffle, tokens, monkeypatch) -> None:
    """Without one, pinning is a copy that says it was asked for."""
    plain = list(drawn["ragged"].loader(shuffle, tokens=tokens))
    asked: list[torch.Tensor] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        asked.append(tensor.clone())
        return asked[-1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    for batch, want in zip(drawn["ragged"].loader(shuffle, tokens=tokens), plain, strict=True):
        for side, same in ((batch.video, want.video), (batch.text, want.text)):
            assert any(side[0] is one for one in asked)
            torch.testing.assert_close(side[0], same[0], rtol=0, atol=0)


@SHUFFLES
def test_a_caption_belongs_to_its_video(drawn, shuffle) -> None:
    for every in ("one", "all"):
        for batch in drawn["pooled"].loader(shuffle, captions_per_video=every):
            own = drawn["pooled"].video_of_caption[batch.caption_positions.numpy()]
            assert own.tolist() == batch.video_positions.tolist()


@SHUFFLES
def test_an_epoch_has_every_video_or_every_caption_once(drawn, shuffle) -> None:
    one = [n for batch in drawn["pooled"].loader(shuffle, batch_size=1) for n in batch.video_positions.tolist()]
    assert sorted(one) == list(range(103))
    every = captions_of(drawn["pooled"].loader(shuffle, batch_size=1, captions_per_video="all"))
    assert sorted(chain.from_iterable(every)) == list(range(206))


@SHUFFLES
def test_listed_pairs_come_as_often_as_they_are_there_with_their_labels(drawn, shuffle) -> None:
    rng = np.random.default_rng(3)
    labelled = LabelledPairs(rng.integers(0, N_VIDEOS, 96), rng.integers(0, 2 * N_VIDEOS, 96), rng.integers(0, 2, 96))
    found = []
    for batch in drawn["pooled"].loader(shuffle, pairs=labelled):
        for side, want in zip((batch.video, batch.text), drawn["pooled"].of(batch), strict=True):
            np.testing.assert_array_equal(side, np.stack(want))
        found += zip(*(numbers.tolist() for numbers in batch[2:]), strict=True)
    assert sorted(found) == sorted(zip(*(numbers.tolist() for numbers in labelled), strict=True))
    assert found != list(zip(*labelled, strict=True))


def test_listed_pairs_of_rows_that_are_not_there_are_refused(drawn) -> None:
    one = np.array([0])
    with pytest.raises(AlignerError, match="among 103 videos"):
        drawn["pooled"].loader(pairs=LabelledPairs(np.array([103]), one, one))


@SHUFFLES
@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
def test_rows_are_prepared_before_they_become_tensors(drawn, layout, shuffle) -> None:
    def doubled(items):
        if isinstance(items, Tokens):
            return Tokens(items.values * 2, items.offsets)
        return items * 2

    plain, prepared = (drawn[layout].loader(shuffle, prepare=how) for how in (None, {"video": doubled}))
    for one, other in zip(plain, prepared, strict=True):
        parts = [side if isinstance(side, tuple) else (side,) for side in (one.video, other.video)]
        torch.testing.assert_close(parts[1][0], 2 * parts[0][0])
        assert other.text is not None and len(parts[1][0]) == len(other.label)


def test_values_stay_as_stored_if_wanted(drawn) -> None:
    batch = next(iter(drawn["pooled"].loader(dtype=None)))
    assert batch.video.dtype == torch.float16
    np.testing.assert_array_equal(batch.video, np.stack(drawn["pooled"].of(batch)[0]))


def test_captions_are_drawn_by_epoch_whatever_the_batches(drawn) -> None:
    def drawn_in(epoch: int, **settings) -> dict[int, int]:
        loader = drawn["pooled"].loader(**settings)
        loader.set_epoch(epoch)
        return {v: c for b in loader for v, c in zip(*map(torch.Tensor.tolist, b[2:4]), strict=True)}

    first = drawn_in(0, batch_size=1)
    assert drawn_in(0, shuffle="blocks", batch_size=1) == first
    assert drawn_in(0, batch_size=50).items() <= first.items()
    seen = [drawn_in(epoch, batch_size=1) for epoch in range(12)]
    assert {caption for epoch in seen for caption in epoch.values()} == set(range(206))


@SHUFFLES
def test_seed_and_epoch_alone_decide_on_the_batches(drawn, shuffle) -> None:
    loader = drawn["pooled"].loader(shuffle)
    first, second = captions_of(loader), captions_of(loader)
    assert first != second
    again = drawn["pooled"].loader(shuffle)
    again.set_epoch(1)
    assert captions_of(again) == second
    assert captions_of(drawn["pooled"].loader(shuffle, seed=1)) != first


@SHUFFLES
def test_ranks_share_the_batches_of_one(drawn, shuffle) -> None:
    whole = drawn["pooled"].loader(shuffle)
    ranks = [drawn["pooled"].loader(shuffle, rank=rank, world_size=4) for rank in range(4)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert [len(part.video) for part in parts] == [2] * 4
        for name in PairBatch._fields:
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


@SHUFFLES
@pytest.mark.parametrize("n_batches", [0, 1, 3, 7, 11, 12, 17])
def test_another_loader_goes_on_where_one_stopped(drawn, shuffle, n_batches) -> None:
    whole = drawn["pooled"].loader(shuffle)
    want = captions_of(whole) + captions_of(whole)
    stopped = drawn["pooled"].loader(shuffle)
    had: list[list[int]] = []
    while len(had) < n_batches:
        had += captions_of(islice(stopped, n_batches - len(had)))
    resumed = drawn["pooled"].loader(shuffle, rank=0, world_size=1)
    resumed.load_state_dict(pickle.loads(pickle.dumps(stopped.state_dict())))
    rest = captions_of(resumed)
    assert had + rest == want[: len(had) + len(rest)]
    assert len(had) + len(rest) in (12, 24)
    if len(want) > len(had) + len(rest):
        assert captions_of(resumed) == want[12:]


def test_breaking_off_begins_the_epoch_again(drawn) -> None:
    loader = drawn["pooled"].loader()
    for _ in loader:
        break
    assert captions_of(loader) == captions_of(drawn["pooled"].loader())


def test_a_state_of_another_number_of_ranks_is_taken(drawn) -> None:
    loader = drawn["pooled"].loader(world_size=2, rank=0)
    assert len(list(islice(loader, 5))) == 5
    other = drawn["pooled"].loader()
    other.load_state_dict(loader.state_dict())
    assert captions_of(other) == captions_of(drawn["pooled"].loader())[5:]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 4}, "batch_size"),
        ({"captions_per_video": "all"}, "captions_per_video"),
        ({"shuffle": "blocks"}, "memory_bytes decides"),
    ],
)
def test_a_state_of_another_order_is_refused(drawn, settings, name) -> None:
    with pytest.raises(AlignerError, match=name):
        drawn["pooled"].loader(**settings).load_state_dict(drawn["pooled"].loader().state_dict())


def test_a_state_of_other_rows_is_refused(drawn) -> None:
    few = drawn["pooled"]
    state = few.loader().state_dict()
    kept = np.flatnonzero(few.video_of_caption != 5)
    other = PairLoader(
        video=few.videos,
        text=few.captions.at(kept),
        pairs=few.video_of_caption[kept],
        batch_size=8,
        seed=0,
    )
    with pytest.raises(AlignerError, match="pairs"):
        other.load_state_dict(state)


def test_an_abandoned_epoch_leaves_no_thread_behind(drawn) -> None:
    before = threading.active_count()
    batches = iter(drawn["pooled"].loader("blocks"))
    next(batches)
    assert sum(thread.name.startswith("prefetch") for thread in threading.enumerate()) == 2
    batches.close()
    assert threading.active_count() == before


def test_two_batches_are_read_in_a_thread_while_one_is_used(drawn, monkeypatch) -> None:
    loader, take = drawn["pooled"].loader(), Rows.take
    threads: list[int] = []
    taken = threading.Semaphore(0)

    def watched(*args, **kwargs):
        threads.append(threading.get_ident())
        taken.release()
        return take(*args, **kwargs)

    monkeypatch.setattr(Rows, "take", watched)
    batches = iter(loader)
    next(batches)
    for _ in range(3 * 2):  # both sides of the one in use and of two more
        assert taken.acquire(timeout=10)
    batches.close()
    assert threading.get_ident() not in threads


@SHUFFLES
def test_an_error_of_the_store_reaches_the_reader(tmp_path, shuffle) -> None:
    broken = Drawn(tmp_path / "store" / "drawn", "pooled", failed=50)
    with pytest.raises(FailedRowError, match="broken"):
        list(broken.loader(shuffle, batch_size=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 104}, "103 pairs don't fill a batch of 104"),
        ({"world_size": 3}, "3 ranks can't share a batch of 8"),
        ({"rank": 1}, "rank"),
        ({"captions_per_video": "some"}, "captions_per_video is 'some'; it must be one of one, all"),
        ({"tokens": "packed"}, "tokens is 'packed'; it must be one of padded, ragged"),
        ({"memory_bytes": 1000}, "Two windows of 24 pairs take about 1,440 bytes"),
    ],
)
def test_what_cannot_be_is_refused(drawn, settings, message) -> None:
    with pytest.raises(AlignerError, match=message):
        drawn["pooled"].loader(**settings)


def test_captions_of_videos_that_are_not_there_are_refused(drawn) -> None:
    stored = drawn["pooled"]
    for refused in (stored.video_of_caption[1:], stored.video_of_caption + 1):
        with pytest.raises(AlignerError, match="video_of_caption has"):
            PairLoader(video=stored.videos, text=stored.captions, pairs=refused, batch_size=8, seed=0)
