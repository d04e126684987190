"""Types of aligners' settings: one meaning and one range a name, whichever the aligner."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from reelstore.settings import MAX_ITEMS, Seed, Share

__all__ = ["Seed", "Share"]

Batch = Annotated[int, Field(ge=2, le=10_000_000)]
"""Pairs of a step: contrasting needs two."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Heads = Annotated[int, Field(ge=1, le=1024)]
Layers = Annotated[int, Field(ge=1, le=256)]
LearningRate = Annotated[float, Field(gt=0, le=100)]
Patience = Annotated[int, Field(ge=0, le=1_000_000)]
Power = Annotated[float, Field(ge=0, le=100)]
Temperature = Annotated[float, Field(gt=0, le=1000)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Width = Annotated[int, Field(ge=1, le=65_536)]
WidthOrNone = Annotated[int, Field(ge=0, le=65_536)]
"""0 for none."""
Steps = Annotated[int, Field(ge=0, le=10**9)]
"""0 for none, or for all."""

_Positive = Annotated[float, Field(gt=0, le=10**12)]
_tried = Field(min_length=1, max_length=MAX_ITEMS)
Positives = Annotated[Sequence[_Positive], _tried]
"""Tried one after the other, as the next three are."""
Powers = Annotated[Sequence[Power], _tried]
Counts = Annotated[Sequence[Count], _tried]
Dims = Annotated[Sequence[Width], _tried]
Widths = Annotated[Sequence[Width], Field(min_length=1, max_length=256)]
"""Of layers, one behind the other."""
