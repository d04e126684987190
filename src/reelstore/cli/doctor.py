"""`doctor`: why it doesn't work."""

import sys

import click

from reelstore.cli.progress import echo
from reelstore.params import load_params


@click.command()
@click.argument("model", required=False)
@click.option("--video", help="With --text: the encoders of MODEL, for dvc.yaml.")
@click.option("--text", help="With --video: the encoders of MODEL, for dvc.yaml.")
@click.option("--aligner", help="Check this fitted aligner of the model rather than its embeddings.")
@click.option("--no-fail", is_flag=True, help="Exit with 0 whatever is found.")
def doctor(model: str | None, video: str | None, text: str | None, aligner: str | None, no_fail: bool) -> None:
    """Say what keeps MODEL, VIDEO+TEXT, from being retrieved with; exit with 1 where results would mean nothing.

    Each check has its value, what it should be, what it means and what to do. Fatal findings that params.yaml's
    `doctor.allow` names don't count.

    Example:

    \b
        reelstore doctor efficientnet-lite0+minilm-l6
        reelstore doctor efficientnet-lite0+minilm-l6 --aligner mlp
    """
    from reelstore.pipeline.doctor import run_doctor, run_doctor_of_aligner

    if model is None and video is not None and text is not None:
        model = f"{video}+{text}"
    elif model is None or (video, text) != (None, None):
        raise click.UsageError("Give MODEL, VIDEO+TEXT; or --video and --text.")
    params = load_params()
    report = run_doctor(params, model) if aligner is None else run_doctor_of_aligner(params, model, aligner)
    echo(report.summary())
    if report.failed and not no_fail:
        sys.exit(1)
