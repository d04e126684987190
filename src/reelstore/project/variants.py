"""The variants that a project stores of an encoder, and the recipe of each."""

from typing import Any

from reelstore.encoders.base import TOKENS, EncoderSpec
from reelstore.encoders.variants import VariantRequest, possible_variants
from reelstore.errors import ParamsError
from reelstore.pooling import VERSION
from reelstore.project.settings import Params
from reelstore.records import reserved_fault
from reelstore.store.format import VariantSpec


def recipe_of(spec: EncoderSpec) -> dict[str, Any]:
    """All that determines the numbers beside the items."""
    recipe: dict[str, Any] = {"encoder": spec.as_json()}
    if spec.side == "video":
        from reelstore.video import BACKEND

        recipe["decoder"] = BACKEND
    return recipe


def wanted_variants(params: Params, key: str, spec: EncoderSpec) -> list[VariantRequest]:
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


def variants_of(params: Params, key: str, spec: EncoderSpec) -> tuple[tuple[VariantRequest, VariantSpec], ...]:
    """What is stored, with its spec."""
    return tuple((wanted, variant_spec(params, spec, wanted)) for wanted in wanted_variants(params, key, spec))


def variant_spec(params: Params, spec: EncoderSpec, wanted: VariantRequest) -> VariantSpec:
    """What a variant of an encoder is."""
    output = spec.outputs[wanted.output]
    name = VariantRequest(wanted.output, None).variant
    tokens = VariantSpec(spec.side, spec.name, name, output.dim, output.n_tokens, params.embed.dtype, recipe_of(spec))
    return pooled_spec(tokens, wanted) if wanted.pooling else tokens


def pooled_spec(tokens: VariantSpec, wanted: VariantRequest) -> VariantSpec:
    """What a pooled variant is: its tokens' recipe and the pooling."""
    recipe = {
        **tokens.recipe,
        "tokens": tokens.fingerprint,
        "pooling": {"name": wanted.pooling, "version": VERSION, "arithmetic": "float32"},
    }
    return VariantSpec(tokens.side, tokens.encoder, wanted.variant, tokens.dim, 0, tokens.dtype, recipe)
