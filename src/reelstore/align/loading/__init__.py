"""Training batches straight from a store."""

from reelstore.align.loading.loader import PairLoader

__all__ = ["PairLoader"]
