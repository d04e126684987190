"""What can be stored of an encoder: its outputs as they come, or a pooling of them."""

from dataclasses import dataclass

from reelstore.encoders.base import TOKENS, EncoderSpec
from reelstore.pooling import POOLINGS


@dataclass(frozen=True)
class VariantRequest:
    """A variant to be stored: an output of the encoder as it comes, or a pooling of it."""

    output: str
    pooling: str | None

    @property
    def variant(self) -> str:
        """`tokens` and `mean` where the encoder has one output, else `layer-24` and `layer-24.mean`."""
        if self.output == TOKENS:
            return self.pooling or TOKENS
        return f"{self.output}.{self.pooling}" if self.pooling else self.output


def possible_variants(spec: EncoderSpec) -> dict[str, VariantRequest]:
    """All that could be stored of an encoder, by the name it would have."""
    possible = {}
    for output, shape in spec.outputs.items():
        for pooling in [None] if shape.n_tokens == 0 else [None, *POOLINGS]:
            request = VariantRequest(output, pooling)
            possible[request.variant] = request
    return possible
