"""`reproduce`: what others measured, measured again."""

from pathlib import Path

import click

from reelstore.cli.progress import echo, say


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
@click.option("--width", default=256, show_default=True, help="What 4,096 becomes in an MLP.")
@click.option("--token-width", default=64, show_default=True, help="Width of the transformers.")
@click.option("--epochs", default=5, show_default=True, help="Epochs, or a tenth of the report's if that is more.")
@click.option("--steps", default=100, show_default=True, help="Steps of an epoch at most.")
@click.option("--seeds", default=1, show_default=True, help="Trainings of each, with seeds from 0.")
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
    import yaml

    from reelstore.params import load_params
    from reelstore.pipeline.reproduce.experiments import Scale
    from reelstore.pipeline.reproduce.run import params_on
    from reelstore.pipeline.reproduce.run import reproduce_report as run

    load_params()  # with its own messages, where there is none
    params = params_on(yaml.safe_load(Path("params.yaml").read_text()) or {}, dataset)
    scale = None if full else Scale(width, token_width, epochs, steps)
    echo(run(params, scale=scale, n_seeds=seeds, only=only, say=say).summary())
