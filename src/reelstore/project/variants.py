"""What is stored of an encoder: its outputs as they come, or pooled, and what determines each."""

from dataclasses import dataclass
from typing import Any

from reelstore.encoders.base import TOKENS, EncoderSpec
from reelstore.errors import ParamsError
from reelstore.params import Params
from reelstore.pooling import POOLINGS, VERSION
from reelstore.records import reserved_fault
from reelstore.store.format import VariantSpec


@dataclass(frozen=True)
class Wanted:
    """A variant to be stored: an output of the encoder as it comes, or a pooling of it."""

    output: str
    pooling: str | None

    @property
    def variant(self) -> str:
        """`tokens` and `mean` where the encoder has one output, else `layer-24` and `layer-24.mean`."""
        if self.output == TOKENS:
            return self.pooling or TOKENS
        return f"{self.output}.{self.pooling}" if self.pooling else self.output


def recipe_of(spec: EncoderSpec) -> dict[str, Any]:
    """All that determines the numbers beside the items."""
    recipe: dict[str, Any] = {"encoder": spec.as_json()}
    if spec.side == "video":
        from reelstore.video import BACKEND

        recipe["decoder"] = BACKEND
    return recipe


def possible_variants(spec: EncoderSpec) -> dict[str, Wanted]:
    """Whatever could be stored of an encoder, by the name it would have."""
    possible = {}
    for output, shape in spec.outputs.items():
        for pooling in [None] if shape.n_tokens == 0 else [None, *POOLINGS]:
            wanted = Wanted(output, pooling)
            possible[wanted.variant] = wanted
    return possible


def wanted_variants(params: Params, key: str, spec: EncoderSpec) -> list[Wanted]:
    """What is stored of an encoder: its tokens, or what `keep` lists."""
    possible = possible_variants(spec)
    keep = params.keep(key)
    if keep is None:
        if list(spec.outputs) != [TOKENS]:
            raise ParamsError(
                f"encoders.{key} gives {', '.join(spec.outputs)}: write its line under `streams`, with what to `keep`."
            )
        keep = [TOKENS]
    for name in keep:
        if name not in possible:
            raise ParamsError(f"streams.{key}.keep: {name!r} isn't among {', '.join(possible)}.")
        if (fault := reserved_fault(name)) is not None:
            raise ParamsError(f"streams.{key}.keep: {name!r} {fault}. The encoder must give its output another name.")
    return [possible[name] for name in keep]


def variants_of(params: Params, key: str, spec: EncoderSpec) -> tuple[tuple[Wanted, VariantSpec], ...]:
    """What is stored, with its spec."""
    return tuple((wanted, variant_spec(params, spec, wanted)) for wanted in wanted_variants(params, key, spec))


def variant_spec(params: Params, spec: EncoderSpec, wanted: Wanted) -> VariantSpec:
    """What a variant of an encoder is."""
    output = spec.outputs[wanted.output]
    name = Wanted(wanted.output, None).variant
    tokens = VariantSpec(spec.side, spec.name, name, output.dim, output.n_tokens, params.embed.dtype, recipe_of(spec))
    return pooled_spec(tokens, wanted) if wanted.pooling else tokens


def pooled_spec(tokens: VariantSpec, wanted: Wanted) -> VariantSpec:
    """What a pooled variant is: its tokens' recipe and the pooling."""
    recipe = {
        **tokens.recipe,
        "tokens": tokens.fingerprint,
        "pooling": {"name": wanted.pooling, "version": VERSION, "arithmetic": "float32"},
    }
    return VariantSpec(tokens.side, tokens.encoder, wanted.variant, tokens.dim, 0, tokens.dtype, recipe)
