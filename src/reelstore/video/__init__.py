"""A file -> frames at chosen times."""

from reelstore.video.ahead import decode_ahead
from reelstore.video.decode import BACKEND, decode
from reelstore.video.sampling import Sampling

__all__ = ["BACKEND", "Sampling", "decode", "decode_ahead"]
