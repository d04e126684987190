"""`reproduce`: what others measured, measured again."""

import click

from reelstore.cli.progress import echo, say

_WIDTH = click.IntRange(8, 65_536)
_COUNT = click.IntRange(1, 100_000)


@click.group()
def reproduce() -> None:
    """Measure again what others measured.

    Example:

    \b
        reelstore reproduce report --on llm-like
    """


@reproduce.command("report")
@click.option("--on", "dataset", help="Dataset; that of params.yaml by default, else the preset of this name.")
@click.option("--full", is_flag=True, help="As large and as long as in the report; otherwise smaller, as below.")
@click.option("--width", type=_WIDTH, default=256, show_default=True, help="What 4,096 becomes in an MLP.")
@click.option("--token-width", type=_WIDTH, default=64, show_default=True, help="Width of the transformers.")
@click.option("--epochs", type=_COUNT, default=5, show_default=True, help="Epochs, or a tenth of the report's if more.")
@click.option("--steps", type=_COUNT, default=100, show_default=True, help="Steps of an epoch at most.")
@click.option("--seeds", type=_COUNT, default=1, show_default=True, help="Trainings of each, with seeds from 0.")
@click.option("--only", multiple=True, help="Run this experiment alone, such as report-01; repeat it.")
def reproduce_report(
    dataset: str | None,
    full: bool,
    width: int,
    token_width: int,
    epochs: int,
    steps: int,
    seeds: int,
    only: tuple[str, ...],
) -> None:
    """Train the report's ten aligners and the recipes beside them, ask the doctor, and write a page.

    What is done stays done: the same command goes on where it was killed.

    Example:

    \b
        reelstore reproduce report
        reelstore reproduce report --on llm-like --epochs 10
    """
    from reelstore.project.reproduce.experiments import Scale
    from reelstore.project.reproduce.run import params_on
    from reelstore.project.reproduce.run import reproduce_report as run
    from reelstore.project.settings import load_document, params_of

    document = load_document()
    params_of(document, source="params.yaml")  # the messages that have lines
    params = params_on(document.values or {}, dataset)
    scale = None if full else Scale(width, token_width, epochs, steps)
    echo(run(params, scale=scale, n_seeds=seeds, only=only, say=say).summary())
