"""A file -> frames at chosen times."""

from reelstore.video.decode import BACKEND, decode
from reelstore.video.sampling import Sampling

__all__ = ["BACKEND", "Sampling", "decode"]
