"""Embeddings <-> Zarr arrays, keyed by video and caption."""

import sys

from reelstore.errors import PlatformError

if sys.platform == "win32":
    raise PlatformError
