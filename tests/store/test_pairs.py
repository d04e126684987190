"""Videos and their captions as pairs, and loaders of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import reelstore
from reelstore.errors import (
    StoreError,
)
from reelstore.store.open import Store

from .made import CAPTIONS, TOKENS, VIDEOS, folder_of, spec, write


def test_pairs_have_both_sides_and_whose_each_caption_is(store: Store) -> None:
    pairs = store.pairs("video/clip/mean", "text/clip/tokens", split="test")
    assert pairs.video.ids == VIDEOS[70:] and len(pairs) == len(pairs.text)
    assert [pairs.video.ids[n] for n in pairs.video_of_caption] == pairs.text.video_ids
    with pytest.raises(StoreError, match="holds text rows"):
        store.pairs("text/clip/mean", "video/clip/mean")


def test_pairs_skip_and_count_captions_without_a_video(tmp_path: Path) -> None:
    videos, texts = spec(), spec(side="text")
    keys = ["v1", "v0", "v2", "v3", "v4", "v5"]  # v1 and v5 are of `test`
    captions = [(video, index) for video in ("gone", "v0", "v1", "v2", "v3", "v4", "v5") for index in range(2)]
    write(folder_of(tmp_path, videos), videos, keys, failed=("v2",))
    write(folder_of(tmp_path, texts), texts, captions, failed=(("v3", 1),))
    store = reelstore.open(tmp_path / "store" / "set")
    pairs = store.pairs("video/fake/mean", "text/fake/mean")
    assert pairs.video.ids == ["v1", "v0", "v3", "v4", "v5"]
    assert pairs.text.ids == [key for key in captions if key[0] not in ("gone", "v2") and key != ("v3", 1)]
    assert pairs.video_of_caption.tolist() == [1, 1, 0, 0, 2, 3, 3, 4, 4]
    assert repr(pairs) == "PairedVariants(5 videos, 9 captions, 5 captions skipped)"
    # ("gone", 0) is of `test` by its own row, ("gone", 1) of `train`.
    assert repr(store.pairs("video/fake/mean", "text/fake/mean", split="test")) == (
        "PairedVariants(2 videos, 4 captions, 1 captions skipped)"
    )
    train = store.pairs("video/fake/mean", "text/fake/mean", split="train")
    assert len(train) + train.n_skipped == len(captions) - 5 and train.n_skipped == 4


def test_a_loader_in_order_has_each_caption_once(store: Store) -> None:
    pairs = store.pairs("video/clip/mean", "text/clip/mean", split="test")
    loader = pairs.loader(batch_size=16, shuffle=False)
    for _ in range(2):
        batches = list(loader)
        assert [len(batch.text) for batch in batches] == [16] * (len(pairs) // 16) + [len(pairs) % 16]
        assert len(batches) == len(loader)
        np.testing.assert_array_equal(torch.cat([batch.text for batch in batches]), np.asarray(pairs.text))
        of = torch.cat([batch.video_positions for batch in batches])
        np.testing.assert_array_equal(of, pairs.video_of_caption)
        np.testing.assert_array_equal(torch.cat([batch.video for batch in batches]), pairs.video[of])
    tokens = store.pairs("video/clip/mean", "text/clip/tokens").loader(batch_size=7, shuffle=False, dtype=None)
    values, mask = next(iter(tokens)).text
    assert values.dtype == torch.float16 and mask.sum(1).tolist() == list(map(len, TOKENS[:7]))


def test_a_loader_of_pairs_trains_anybody_s_module(store: Store) -> None:
    import lightning

    class Mine(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Linear(4, 4)
            self.seen = self.validated = 0

        def training_step(self, batch, _):
            self.seen += len(batch.video)
            return (self.map(batch.video) - batch.text).square().mean()

        def validation_step(self, batch, _):
            self.validated += len(batch.text)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Mine()
    loader = store.pairs("video/clip/mean", "text/clip/mean", split="train").loader(batch_size=16, seed=3)
    trainer = lightning.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
    )
    held_out = store.pairs("video/clip/mean", "text/clip/mean", split="test")
    trainer.fit(module, loader, held_out.loader(batch_size=16, shuffle=False))
    assert module.seen == len(loader) * 16 > 0 and module.validated == len(held_out)


def test_a_loader_without_torch_says_what_to_install(store: Store) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import reelstore;"
        "pairs = reelstore.open(sys.argv[1]).pairs('video/clip/mean', 'text/clip/mean'); print(len(pairs));"
        "pairs.loader(batch_size=2)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{len(CAPTIONS)}\n"
    assert "MissingExtraError: A loader of pairs needs torch" in done.stderr and "reelstore[train]" in done.stderr
