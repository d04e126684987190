"""Embeddings in others' files, to be read into a store and written out of one: npy, HDF5, Parquet, safetensors."""

from reelstore.convert.base import Held, Key, Layout, Listing, Source, held_by

__all__ = ["Held", "Key", "Layout", "Listing", "Source", "held_by"]
