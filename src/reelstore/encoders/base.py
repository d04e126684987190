"""What an encoder is: frames or a caption in, tokens out, each side alone."""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from reelstore.arrays import Array, Float32Array
from reelstore.records import Side

TOKENS = "tokens"
"""Name of the output of an encoder that has one."""

EMBEDDING = "embedding"
"""Name of an output that is one embedding an item, pooled by the network itself."""


@dataclass(frozen=True)
class Output:
    """One kind of result an encoder gives for each item.

    Attributes:
        dim: width of a token or embedding.
        n_tokens: tokens of every item, None where their number varies; 0 for one embedding that isn't pooled further.
    """

    dim: int
    n_tokens: int | None


@dataclass(frozen=True)
class EncoderSpec:
    """What determines an encoder's numbers; it alone, with the item's content, decides whether a row is up to date.

    Attributes:
        name: registry name, `efficientnet-lite0`.
        version: raised by hand when the output changes; a golden contract test insists.
        side: `video` or `text`.
        outputs: name -> what comes out of one forward pass; `tokens` where there is one, else `layer-24` and the like.
        weights_sha256: hex digest of the weights.
        preprocessing: backend and arithmetic between frames or text and the network, in words.
        sampling: which frames it sees, `uniform(8)`; empty for text.
        batch: the fixed batch shape; it moves the last bits.
        threads: CPU threads of one worker; they move the last bits too.
    """

    name: str
    version: int
    side: Side
    outputs: Mapping[str, Output]
    weights_sha256: str
    preprocessing: str
    sampling: str
    batch: str
    threads: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, as kept in the store. Without `outputs`: one isn't another because a third comes with it."""
        return {name: value for name, value in asdict(self).items() if name != "outputs"}

    def fingerprint(self) -> str:
        """sha256 (hex) over the canonical JSON of all fields but `outputs`."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()


class Encoder(Protocol):
    """Frames or a caption -> tokens.

    Making one reads its options, configuration and tokenizer, and hashes its weights: `spec`, `batch_size` and `frames`
    are known then. `load` reads the weights; `encode` needs them, and `prepare` may.

    A video encoder also has `frames`, the arguments of its `Sampling`; and `frame_size`, (height, width), if it wants
    its frames scaled by the decoder. One whose network may have batch norms has `input_statistics`, from prepared
    videos of equally many frames to what `encoders/input_statistics.py` says of them.

    `prepare` is called ahead, from several threads; `encode` from one. Prepared items of one `bucket` may share a
    batch; `encode` takes at most `batch_size` of them and fills the batch up itself, so that its shape is constant.
    """

    spec: EncoderSpec
    batch_size: int

    def load(self) -> None:
        """Read the weights, once.

        Raises:
            WeightsError: they aren't the model's, or give other outputs than `spec` says.
        """
        ...

    def prepare(self, item: Any) -> Array:
        """`Frames` or a caption's text -> the network's input for one item."""
        ...

    def bucket(self, prepared: Array) -> Hashable:
        """Items with equal buckets have the same batch shape."""
        ...

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Every output of each item, (n_tokens, dim) or (dim,) float32, in the order given."""
        ...
