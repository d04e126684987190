"""`batch_size: auto`: find the largest batch that fits a GPU's memory, once; it is part of every row's recipe."""

import gc
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reelstore.bounds import ItemBounds
from reelstore.encoders.base import Encoder
from reelstore.errors import BatchMemoryError, DamagedFileError, StoreError
from reelstore.plain import read_typed
from reelstore.project.embed.batches import encode_batch, out_of_memory
from reelstore.project.embed.preprocess import preprocessed
from reelstore.records import Side
from reelstore.store.files import read_manifest
from reelstore.store.groups import variant_folders

AUTO = "auto"
LARGEST: dict[Side, int] = {"video": 32, "text": 256}
"""Items of the first try; each next one is half as large. Larger batches were not seen to be faster."""
_FIRST_OF_SHAPE = re.compile(r"\(([1-9][0-9]{0,5}),")


def recorded_batch_size(plan: Path, variants: Path) -> int | None:
    """The batch size of rows that are stored or planned already: with another one all of them would be embedded again.

    Args:
        plan: file of a plan of this encoder.
        variants: folder of the encoder in the store.
    """
    recipes = []
    for folder in variant_folders(variants):
        try:
            attributes = read_manifest(folder)
        except StoreError:  # verify and embed say so themselves
            continue
        if attributes is not None:
            recipes.append(attributes["recipe"])
    with suppress(OSError, DamagedFileError):  # whoever carries the plan out says so
        recipes.append(read_typed(plan, dict[str, Any]).get("recipe"))
    for recipe in recipes:
        encoder = recipe.get("encoder") if isinstance(recipe, Mapping) else None
        found = _FIRST_OF_SHAPE.match(str(encoder.get("batch"))) if isinstance(encoder, Mapping) else None
        if found:
            return int(found[1])
    return None


def largest_batch_size(load: Callable[[int], Encoder], probe: Callable[[Encoder], Any]) -> int:
    """The largest power of two, up to `LARGEST`, at which a full batch goes through the encoder.

    Args:
        load: gives the encoder with a batch size.
        probe: gives one prepared item of the largest kind there is.

    Raises:
        BatchMemoryError: a batch of one is too large.
    """
    encoder: Any = load(1)
    item = probe(encoder)
    size = LARGEST[encoder.spec.side]
    while size > 1:
        encoder.batch_size = size  # the spec still says 1; whoever embeds loads the encoder with the size that is found
        if _fits(encoder, item):
            return size
        _free_memory()
        size //= 2
    encoder.batch_size = 1
    encode_batch(encoder, [item])
    return 1


def largest_item(encoder: Encoder, items: Sequence[Any], clips: Path, bounds: ItemBounds) -> Any:
    """The prepared input that takes most: of the longest caption within the bounds, or of the first video that can be
    decoded.

    Raises:
        BatchMemoryError: there is none.
    """
    if encoder.spec.side == "text":
        items = sorted(
            (caption for caption in items if len(caption.text) <= bounds.max_characters),
            key=lambda caption: len(caption.text),
        )[-1:]
    outcomes = preprocessed(encoder, items, clips, workers=1, bounds=bounds)
    outcome = next((one for one in outcomes if not isinstance(one, Exception)), None)
    if outcome is None:
        raise BatchMemoryError(
            f"{encoder.spec.side}/{encoder.spec.name}: nothing to find a batch size with. Set batch_size to a number."
        )
    return outcome


def _fits(encoder: Encoder, item: Any) -> bool:
    try:
        for _ in range(2):  # the second one finds the allocator as later ones will
            encoder.encode([item])
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def _free_memory() -> None:
    """What a failed try has left."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
