"""Groups of near-duplicates -> splits, by seed; a group's split doesn't depend on the others."""

from collections.abc import Mapping
from hashlib import sha256


def split_of_group(group: str, shares: Mapping[str, float], *, seed: int) -> str:
    """The split of one group.

    Its place in [0, 1) is a hash of seed and name, so that adding a video moves no other. Shares are met on average.

    Example:
        >>> split_of_group("cat", {"train": 1.0}, seed=0)
        'train'
    """
    place = int.from_bytes(sha256(f"{seed} {group}".encode()).digest()[:8], "big") / 2**64
    reached = 0.0
    for split, share in shares.items():
        reached += share
        if place < reached:
            return split
    return list(shares)[-1]
