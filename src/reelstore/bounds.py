"""What one video or caption may take."""

from typing import Annotated

from pydantic import Field

from reelstore.errors import LongTextError
from reelstore.settings import Settings


class ItemBounds(Settings):
    """What one video or caption may take. One that takes more becomes a failed row with its reason."""

    max_file_bytes: Annotated[int, Field(ge=1, le=2**40)] = 4 * 2**30
    """Bytes of a video's file, which is read whole."""
    max_frame_pixels: Annotated[int, Field(ge=1, le=2**30)] = 2**26
    """Pixels of one picture, width x height."""
    max_frames: Annotated[int, Field(ge=1, le=2**30)] = 1_000_000
    """Frames of a video, all of which are decoded to be counted."""
    max_seconds: Annotated[float, Field(gt=0, le=1e9)] = 6 * 3600.0
    """Seconds from a video's first frame to its last."""
    max_decoded_pixels: Annotated[int, Field(ge=1, le=2**60)] = 2**40
    """Pixels of all of a video's frames; the default is 5 hours of 1080p at 30 frames a second."""
    max_picture_work: Annotated[int, Field(ge=1, le=2**60)] = 2**31
    """The same of GIF, WebP, PNG and JPEG, which are slower; a frame counts as 32,768 pixels more, each scan of a
    progressive JPEG as a frame. The default takes about half a minute, and is 1,000 frames of 1080p."""
    max_sampled_frames: Annotated[int, Field(ge=1, le=2**24)] = 4096
    """Frames of a video that an encoder gets."""
    max_sampled_bytes: Annotated[int, Field(ge=1, le=2**44)] = 2 * 2**30
    """Bytes of these frames as decoded, 3 a pixel."""
    max_characters: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Characters of a caption, or of a sentence that is searched."""

    def check_text(self, text: str) -> None:
        """Raise LongTextError where a text is beyond `max_characters`."""
        if len(text) > self.max_characters:
            raise LongTextError(
                f"the text has {len(text):,} characters; embed.max_characters allows {self.max_characters:,}"
            )
