"""Types of encoders' options: one range for each name, the same for every encoder."""

from typing import Annotated

from pydantic import Field

from reelstore.settings import Seed

__all__ = ["Seed"]

BatchSize = Annotated[int, Field(ge=1, le=65_536)]
"""Items that an encoder takes at once."""
FrameCount = Annotated[int, Field(ge=1, le=10_000)]
Step = Annotated[int, Field(ge=1, le=1_000_000)]
TokenCount = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
