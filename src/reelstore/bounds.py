"""What one video or caption may take."""

from dataclasses import dataclass

from reelstore.errors import LongTextError
from reelstore.settings import Range, Section, setting


@dataclass(frozen=True)
class ItemBounds(Section):
    """What one video or caption may take. One that takes more becomes a failed row with its reason."""

    max_file_bytes: int = setting(4 * 2**30, Range(1, 2**40))
    """Bytes of a video's file, which is read whole."""
    max_frame_pixels: int = setting(2**26, Range(1, 2**30))
    """Pixels of one picture, width x height."""
    max_frames: int = setting(1_000_000, Range(1, 2**30))
    """Frames of a video, all of which are decoded to be counted."""
    max_seconds: float = setting(6 * 3600.0, Range(0, 1e9, above=True))
    """Seconds from a video's first frame to its last."""
    max_decoded_pixels: int = setting(2**40, Range(1, 2**60))
    """Pixels of all of a video's frames; the default is 5 hours of 1080p at 30 frames a second."""
    max_picture_work: int = setting(2**31, Range(1, 2**60))
    """The same of GIF, WebP, PNG and JPEG, which are slower; a frame counts as 32,768 pixels more, each scan of a
    progressive JPEG as a frame. The default takes about half a minute, and is 1,000 frames of 1080p."""
    max_sampled_frames: int = setting(4096, Range(1, 2**24))
    """Frames of a video that an encoder gets."""
    max_sampled_bytes: int = setting(2 * 2**30, Range(1, 2**44))
    """Bytes of these frames as decoded, 3 a pixel."""
    max_characters: int = setting(100_000, Range(1, 10_000_000))
    """Characters of a caption, or of a sentence that is searched."""

    def check_text(self, text: str) -> None:
        """Raise LongTextError where a text is beyond `max_characters`."""
        if len(text) > self.max_characters:
            raise LongTextError(
                f"the text has {len(text):,} characters; embed.max_characters allows {self.max_characters:,}"
            )
