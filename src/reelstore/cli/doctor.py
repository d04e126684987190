"""`doctor`: why it doesn't work."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelstore.cli.progress import echo
from reelstore.cli.project import load_params

if TYPE_CHECKING:
    from reelstore.project.doctor import DoctorReport


@click.command()
@click.argument("model", required=False)
@click.option("--video", help="With --text: the encoders of MODEL; of --store, <encoder> or <encoder>/<variant>.")
@click.option("--text", help="With --video: the same of captions.")
@click.option("--store", type=click.Path(path_type=Path), help="Folder of a dataset's store: no params.yaml is needed.")
@click.option("--aligner", help="Check this fitted aligner of the model rather than its embeddings.")
@click.option("--no-fail", is_flag=True, help="Exit with 0 whatever is found.")
def doctor(
    model: str | None, video: str | None, text: str | None, store: Path | None, aligner: str | None, no_fail: bool
) -> None:
    """Say what keeps MODEL, VIDEO+TEXT, from being retrieved with; exit with 1 where results would mean nothing.

    Each check has its value, what it should be, what it means and what to do. Fatal findings that params.yaml's
    `doctor.allow` names don't count.

    Example:

    \b
        reelstore doctor efficientnet-lite0+minilm-l6
        reelstore doctor efficientnet-lite0+minilm-l6 --aligner mlp
        reelstore doctor --store store/mine --video clip/mean --text clip/mean
    """
    from reelstore.project.doctor import run_doctor, run_doctor_of_aligner, run_doctor_of_store

    if store is not None:
        if model is not None or aligner is not None or video is None or text is None:
            raise click.UsageError("--store takes --video and --text, and nothing else.")
        _end(run_doctor_of_store(store, video=video, text=text), no_fail=no_fail)
        return
    if model is None and video is not None and text is not None:
        from reelstore.records import model_name

        model = model_name(video, text)
    elif model is None or (video, text) != (None, None):
        raise click.UsageError("Give MODEL, VIDEO+TEXT; or --video and --text.")
    params = load_params()
    report = run_doctor(params, model) if aligner is None else run_doctor_of_aligner(params, model, aligner)
    _end(report, no_fail=no_fail)


def _end(report: "DoctorReport", *, no_fail: bool) -> None:
    echo(report.summary())
    if report.failed and not no_fail:
        sys.exit(1)
