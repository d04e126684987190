"""The curves of a training: DVCLive writes them in runs/ while it goes, and they are published with its model."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reelstore.errors import ReelstoreError
from reelstore.extras import needed
from reelstore.io import make_output_folder, read_bytes, read_text, remove_files

SUMMARY = "metrics.json"
METRICS = Path("plots", "metrics")


@contextmanager
def live_curves(folder: Path) -> Iterator[Any]:
    """A DVCLive logger: one TSV a number, so that `dvc plots` shows every aligner the same way."""
    with needed("Drawing a training's curves"):
        from dvclive.live import Live

    make_output_folder(folder / METRICS)
    remove_files(folder / METRICS, "*.tsv")
    remove_files(folder, SUMMARY)
    # With resume, because DVCLive otherwise removes whole folders. There is nothing left to resume.
    options: dict[str, Any] = {"dvcyaml": None, "save_dvc_exp": False, "report": None, "monitor_system": False}
    try:
        with Live(str(folder), resume=True, **options) as live:
            yield live
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and error.filename is None:
            error.filename = str(folder)  # such an error doesn't say where there was no room
        raise


def curve_files(live: Path, published: Path) -> dict[Path, bytes | None]:
    """Curves by their names in the stage's output; None for those of an earlier training that this one doesn't have."""
    new = [live / SUMMARY, *sorted((live / METRICS).glob("*.tsv"))]
    return {
        **dict.fromkeys(earlier_curves(published / METRICS)),
        **{published / path.relative_to(live): read_bytes(path) for path in new},
    }


def earlier_curves(folder: Path) -> list[Path]:
    """Curves in a folder of outputs, by their first line: other tables in it are somebody else's."""
    return [path for path in sorted(folder.glob("*.tsv")) if _is_curve(path)]


def _is_curve(path: Path) -> bool:
    try:
        return read_text(path).startswith(f"step\t{path.stem}\n")
    except (ReelstoreError, OSError):
        return False
