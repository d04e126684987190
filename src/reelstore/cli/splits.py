"""`splits`: whether a claim about aligners holds over random splits."""

import json

import click

from reelstore.cli.progress import echo, say
from reelstore.cli.project import load_params


@click.command()
@click.argument("model", metavar="VIDEO+TEXT")
@click.argument("aligners", nargs=-1, required=True)
@click.option("--seeds", type=click.IntRange(2, 1000), default=10, show_default=True, help="Splits, seeds from 0.")
@click.option("--json", "as_json", is_flag=True, help="All results as JSON instead of tables.")
def splits(model: str, aligners: tuple[str, ...], seeds: int, as_json: bool) -> None:
    """Fit and measure ALIGNERS on random splits: mean, spread, and differences to the first on the same splits.

    An aligner is a name of params.yaml, or a kind with its default settings. The project's own split, models and
    metrics stay as they are. Results are kept in runs/splits: a run that was stopped goes on.

    Example:

    \b
        reelstore splits efficientnet-lite0+minilm-l6 ridge kernel-ridge cca --seeds 10
    """
    from reelstore.project.splits import run_splits
    from reelstore.records import split_model

    video, text = split_model(model)
    report = run_splits(load_params(), video=video, text=text, aligners=aligners, seeds=range(seeds), progress=say)
    echo(json.dumps(report.as_json(), indent=1) if as_json else report.summary())
