"""How many rows may fail before a stage does."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from reelstore.errors import TooManyFailuresError

NAMED = 10
"""Failures named in a message."""


def check_failures(folder: Path, n_rows: int, failures: Mapping[Any, str], max_failures: float) -> None:
    """Compare a variant's failures with what params.yaml allows.

    Args:
        folder: the variant's, or its encoder's.
        n_rows: of the variant.
        failures: key -> reason.
        max_failures: a share of the rows below 1, or a count.

    Raises:
        TooManyFailuresError: more rows failed than that.
    """
    allowed = max_failures * n_rows if max_failures < 1 else max_failures
    if len(failures) > allowed:
        reasons = "\n".join(f"  {key}: {reason}" for key, reason in islice(failures.items(), NAMED))
        raise TooManyFailuresError(
            f"{folder}: {len(failures)} of {n_rows} rows failed, embed.max_failures allows {allowed:g}.\n{reasons}\n"
            "Mend or remove these files, or raise embed.max_failures; the other rows are stored."
        )
