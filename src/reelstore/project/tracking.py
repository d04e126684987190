"""Runs logged to Weights & Biases; the only file that knows it."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from reelstore.errors import ReelstoreError
from reelstore.extras import needed
from reelstore.io import is_folder, make_output_folder, remove_files
from reelstore.layout import RUNS
from reelstore.project.git import revision_and_branch
from reelstore.project.settings import TrackingParams

"""W&B keeps its files in runs/wandb, outside of git and DVC."""
_FILES_OF_RUN: dict[str, tuple[str, ...]] = {
    "files/media/table": ("*.table.json",),
    "files/media": (),
    "files": ("config.yaml", "output.log", "requirements.txt", "wandb-metadata.json", "wandb-summary.json"),
    "logs": ("debug*.log",),
    "tmp/code": (),
    "tmp": (),
    "": ("run-*.wandb",),
}
"""What W&B writes of an offline run, the innermost folders first."""


class TrackingError(ReelstoreError, RuntimeError):
    """A run can't be logged as params.yaml asks."""


class Log:
    """One run; every method does nothing where tracking is disabled."""

    def __init__(self, run: Any = None) -> None:
        self._run = run

    def row(self, values: Mapping[str, float]) -> None:
        """The next point of the run's curves."""
        if self._run is not None:
            self._run.log(_flat(values))

    def summary(self, metrics: Mapping[str, Any]) -> None:
        """Nested numbers, as names of letters, digits and underscores: t2v R@01 -> t2v_R_01."""
        if self._run is not None:
            self._run.summary.update(_flat(metrics))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of queries and the like."""
        if self._run is not None:
            import wandb

            self._run.log({_name(name): wandb.Table(columns=list(columns), data=[list(row) for row in rows])})


@contextmanager
def run(
    params: TrackingParams, *, job: str, name: str, config: Mapping[str, Any], tags: Sequence[str] = ()
) -> Iterator[Log]:
    """A run for one job on one thing; run again on the same branch, it takes its predecessor's place.

    Args:
        params: `offline` keeps it in runs/wandb for `wandb sync`, `online` sends it, `disabled` imports nothing.
        job: `align` or `evaluate`.
        name: <dataset>/<model>/<aligner>.
        config: settings and the digests of the data; the git revision is added.
        tags: to find it by.

    Raises:
        TrackingError: `online` without an account or without an answer from W&B. Nothing is asked.
    """
    mode = os.environ.get("WANDB_MODE", params.wandb)
    if mode == "disabled":
        yield Log()
        return
    with needed(f"tracking.wandb: {mode}"):
        import wandb

    git_revision, branch = revision_and_branch()
    identity = sha256(f"{params.project} {job} {name} {branch}".encode()).hexdigest()[:16]
    if mode == "online":
        _refuse_without_account()
    make_output_folder(RUNS / "wandb")
    if mode != "online":
        _remove_predecessor(identity)
    try:
        wandb_run = wandb.init(
            project=params.project,
            id=identity,
            name=f"{job} {name}",
            job_type=job,
            group=name,
            tags=[tag[:64] for tag in [*tags, branch] if tag],  # W&B takes 1 to 64 characters
            config={**config, "git_revision": git_revision},
            dir=RUNS,
            mode="online" if mode == "online" else "offline",
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
    except wandb.Error as error:
        raise TrackingError(
            f"W&B couldn't start the run: {error} Set tracking.wandb: offline in params.yaml to go on without it."
        ) from error
    exit_code = 1
    try:
        yield Log(wandb_run)
        exit_code = 0
    finally:
        wandb_run.finish(exit_code=exit_code)


def revision() -> str:
    """The project's, as git has it, with `-dirty` where files differ; empty outside of git."""
    return revision_and_branch()[0]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}_{_name(key)}" if prefix else _name(key)
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _refuse_without_account() -> None:
    """W&B would ask for a key and wait; a stage must not."""
    from requests.utils import get_netrc_auth

    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    if not os.environ.get("WANDB_API_KEY") and get_netrc_auth(host) is None:
        raise TrackingError(
            "tracking.wandb is online, but this machine has no W&B account. Run `wandb login`, set WANDB_API_KEY, "
            "or set tracking.wandb: offline in params.yaml."
        )


def _remove_predecessor(identity: str) -> None:
    for folder in (RUNS / "wandb").glob(f"offline-run-*-{identity}"):
        if not is_folder(folder / "files") or not is_folder(folder / "logs"):
            continue  # links, or not a run of W&B's
        for inside, patterns in _FILES_OF_RUN.items():
            if is_folder((folder / inside).parent):
                remove_files(folder / inside, *patterns)
