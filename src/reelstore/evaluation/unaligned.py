"""Two towers of different widths, compared as they are: the narrower one zero-padded."""

from typing import Any

from reelstore.arrays import Array, widened
from reelstore.errors import EvaluationError
from reelstore.ranking.arrays import as_array


def pad_to_same_width(*, text: Any, video: Any) -> tuple[Array, Array]:
    """Both sides with the width of the wider one; zeros are added at the end, no length or product changes.

    Args:
        text: (n_captions, text_dim).
        video: (n_videos, video_dim).

    Returns:
        text (n_captions, dim), video (n_videos, dim), of their own dtypes; the wider one as it came.

    Raises:
        EvaluationError: one isn't a matrix of real numbers.
    """
    text, video = _matrix(text, "text"), _matrix(video, "video")
    width = max(text.shape[1], video.shape[1])
    return widened(text, width), widened(video, width)


def _matrix(values: Any, name: str) -> Array:
    found = as_array(values, name)
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise EvaluationError(f"{name} must be real numbers (n, dim), not {found.dtype} {found.shape}.")
    return found
