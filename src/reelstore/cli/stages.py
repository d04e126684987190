"""A command for each stage of the pipeline but `embed` and `evaluate`."""

import sys
from pathlib import Path

import click

from reelstore.cli.names import names
from reelstore.cli.progress import Bar, echo, say
from reelstore.cli.project import load_params
from reelstore.extras import needed


@click.command()
def dataset() -> None:
    """Fetch or read the dataset and write its tables.

    Example:

    \b
        reelstore dataset
    """
    from reelstore.project.dataset import build_dataset

    params = load_params()
    report = build_dataset(params.dataset, folder=params.layout.data, progress=say)
    echo(report.summary())


@click.command()
@names("encoder", metavar="SIDE/ENCODER")
@click.option("--store", type=click.Path(path_type=Path), help="Folder of a dataset's store; params.yaml's otherwise.")
def pool(encoder: str, store: Path | None) -> None:
    """Pool the tokens of SIDE/ENCODER: first, last, max, mean and sum.

    Example:

    \b
        reelstore pool video/efficientnet-lite0
        reelstore pool text/video-llama-7b --store store/mine
    """
    from reelstore.project.pool import run_pool

    with Bar(f"pool {encoder}") as bar:
        if store is not None:
            report = run_pool(store, encoder, progress=bar)
        else:
            params = load_params()
            report = run_pool(params.layout.store, encoder, max_failures=params.embed.max_failures, progress=bar)
    echo(report.summary())


@click.command()
@names("video", "text", "grid", defaults={"grid": "grid"})
def grid(video: str, text: str, grid: str) -> None:
    """MRR of every pooling of VIDEO x every pooling of TEXT (encoders), unaligned; or the GRID of params.yaml.

    Example:

    \b
        reelstore grid efficientnet-lite0 minilm-l6
        reelstore grid video-llama-7b video-llama-7b after-llama
    """
    from reelstore.project.grid import run_grid

    echo(run_grid(load_params(), video=video, text=text, name=grid).summary())


def _set_of(stage: str) -> str:
    """The name of a DVC stage, `mined@hard` -> that of its set: a `foreach` has it nowhere that is quoted."""
    name = stage.partition("@")[2]
    if not name:
        raise click.UsageError(f"--stage is {stage!r}; STAGE@SET is expected.")
    return name


@click.command()
@names("set", defaults={"set": "captions"})
@click.option("--stage", help="DVC's name of the stage, STAGE@SET, instead of SET.")
def pairs(set: str, stage: str | None) -> None:
    """Write the SET of pairs: which captions are shown with which videos, for training and validation.

    Sets stand under `pairs` and `mined` in params.yaml.

    Example:

    \b
        reelstore pairs captions
    """
    from reelstore.project.pairs import run_pairs

    echo(run_pairs(load_params(), set if stage is None else _set_of(stage)).summary())


@click.command()
@names("variant")
def leakage(variant: str) -> None:
    """Look in VARIANT for near-duplicates across splits; exit with 1 where params.yaml doesn't allow them.

    Example:

    \b
        reelstore leakage video/efficientnet-lite0/mean
    """
    from reelstore.project.pairs import run_leakage

    echo(run_leakage(load_params(), variant).summary())


@click.command()
@names("video", "text", "aligner")
def align(video: str, text: str, aligner: str) -> None:
    """Fit ALIGNER on the training pairs of the encoders VIDEO and TEXT.

    Example:

    \b
        reelstore align efficientnet-lite0 minilm-l6 ridge
    """
    from reelstore.project.align.stage import run_align

    report = run_align(load_params(), video=video, text=text, aligner=aligner, progress=say)
    if report is not None:
        echo(report.summary())


@click.command("check-loader")
@names("video", "text", "aligner")
@click.option("--batches", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Batches to describe.")
def check_loader(video: str, text: str, aligner: str, batches: int) -> None:
    """Describe the batches ALIGNER would be trained on: shapes, keys, labels, padding, speed, and their order.

    Nothing is trained or written. Exit code 1 where a second pass doesn't give the same batches.

    Example:

    \b
        reelstore check-loader efficientnet-lite0 minilm-l6 mlp
    """
    with needed("reelstore check-loader", extra="train"):
        from reelstore.project.align.check_loader import check_loader as run_check

    report = run_check(load_params(), video=video, text=text, aligner=aligner, n_described=batches)
    echo(report.summary())
    if not report.same_order:
        sys.exit(1)


@click.command()
@names("video", "text", "aligner")
def apply(video: str, text: str, aligner: str) -> None:
    """Store what ALIGNER makes of all embeddings of the encoders VIDEO and TEXT, as `aligned` variants.

    Rows whose embedding and aligner haven't changed are reused.

    Example:

    \b
        reelstore apply efficientnet-lite0 minilm-l6 ridge
        reelstore info store/emoji/video/efficientnet-lite0+minilm-l6/aligned.ridge
    """
    from reelstore.project.align.apply import run_apply

    with Bar(f"apply {aligner}") as bar:
        report = run_apply(load_params(), video=video, text=text, aligner=aligner, progress=bar)
    echo(report.summary())


@click.command()
def report() -> None:
    """Write one HTML page with all tables and plots.

    Example:

    \b
        reelstore report
    """
    from reelstore.project.report.stage import run_report

    echo(run_report(load_params()).summary())


@click.command()
def show() -> None:
    """Print the results, and where store, metrics, plots and report lie.

    Example:

    \b
        reelstore show
    """
    from reelstore.project.report.show import results

    echo(results(load_params()).summary())
