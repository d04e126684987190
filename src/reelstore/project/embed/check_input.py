"""Check, with the dataset's videos, that an encoder's input is as its network was trained."""

import numpy as np

from reelstore.errors import DatasetError, ParamsError, UnusableItemError
from reelstore.project.embed.plan import load, read_rows
from reelstore.project.embed.preprocess import preprocessed
from reelstore.project.settings import Params

_NONE = "no batch norm, so the network has no stored statistics of its input to compare with."


def check_input(params: Params, key: str, *, n_videos: int) -> str:
    """One line: the statistics at the network's first batch norm against the stored ones, or that it has none.

    Args:
        params: of the project.
        key: `video/encoder`.
        n_videos: how many videos are decoded, spread over the dataset.

    Raises:
        ParamsError: the encoder is one of text.
        DatasetError: no video can be used.
    """
    if not key.startswith("video/"):
        raise ParamsError(f"{key}: only the input of a video encoder can be checked: text has no pixels.")
    encoder = load(params, key)
    statistics = getattr(encoder, "input_statistics", None)
    if statistics is None:
        return f"{key}: {_NONE}"
    rows = read_rows(params, key)
    chosen = np.unique(np.linspace(0, len(rows.items) - 1, min(n_videos, len(rows.items))).astype(int)).tolist()
    inputs = preprocessed(
        encoder,
        (rows.items[number] for number in chosen),
        rows.clips,
        workers=params.embed.decode_workers,
        bounds=params.embed,
    )
    usable = [item for item in inputs if not isinstance(item, UnusableItemError)]
    if not usable:
        raise DatasetError(f"{key}: none of {len(chosen)} videos can be decoded. Run: reelstore embed {key}")
    batch = [item for item in usable if encoder.bucket(item) == encoder.bucket(usable[0])]
    found = statistics(batch)
    return f"{key}: {_NONE}" if found is None else f"{key}, {len(batch)} videos: {found}"
