"""`evaluate`, `compare` and `metrics`: numbers, and what became of them."""

import sys
from pathlib import Path
from typing import Any, cast

import click

from reelstore.params import load_params


@click.command()
@click.argument("video", required=False)
@click.argument("text", required=False)
@click.argument("aligner", required=False)
@click.option("--text", "text_file", type=click.Path(path_type=Path), help="Without a store: .npy (n_captions, dim).")
@click.option("--video", "video_file", type=click.Path(path_type=Path), help="Without a store: .npy (n_videos, dim).")
@click.option("--keys", type=click.Path(path_type=Path), help="CSV: caption,video; row numbers of each right pair.")
@click.option("--similarity", default="cosine", help="Without a store: cosine, dot or euclidean.")
@click.option("--ties", default="expected", help="Without a store: expected, optimistic or pessimistic.")
@click.option("-k", "ks", type=int, multiple=True, default=(1, 5, 10), help="Without a store: a cut-off; repeat it.")
@click.option("--output", type=click.Path(path_type=Path), help="Without a store: folder for what was found.")
def evaluate(
    video: str | None,
    text: str | None,
    aligner: str | None,
    text_file: Path | None,
    video_file: Path | None,
    keys: Path | None,
    similarity: str,
    ties: str,
    ks: tuple[int, ...],
    output: Path | None,
) -> None:
    """Measure ALIGNER of the encoders VIDEO and TEXT on the test split: ranks, metrics, intervals.

    Or, without a store, any two files of embeddings.

    Example:

    \b
        reelstore evaluate efficientnet-lite0 minilm-l6 ridge
        reelstore evaluate --text t.npy --video v.npy --keys pairs.csv
    """
    if video is not None and text is not None and aligner is not None:
        from reelstore.pipeline.evaluate import run_evaluate

        click.echo(run_evaluate(load_params(), video=video, text=text, aligner=aligner).summary())
        return
    if text_file is None or video_file is None or keys is None or video is not None:
        raise click.UsageError("Give VIDEO TEXT ALIGNER, or --text, --video and --keys.")
    from reelstore.pipeline.evaluate_files import evaluate_files

    report = evaluate_files(
        text_file, video_file, keys, similarity=cast(Any, similarity), ties=cast(Any, ties), ks=ks, output=output
    )
    click.echo(report.summary())


@click.command()
@click.argument("video")
@click.argument("text")
@click.argument("aligner")
@click.argument("protocol")
def protocol(video: str, text: str, aligner: str, protocol: str) -> None:
    """Measure ALIGNER of the encoders VIDEO and TEXT under PROTOCOL, which uses the other test queries.

    Dual softmax and QB-Norm, as `protocols` in params.yaml names them. What is found has files of its own.

    Example:

    
        reelstore protocol efficientnet-lite0 minilm-l6 ridge dsl
    """
    from reelstore.pipeline.protocol import run_protocol

    report = run_protocol(load_params(), video=video, text=text, aligner=aligner, protocol=protocol)
    click.echo(report.summary())


@click.command()
@click.argument("first", required=False)
@click.argument("second", required=False)
@click.option("--rev", "revisions", multiple=True, help="Git revision of FIRST, against the workspace; two: of both.")
@click.option("--fail-if", multiple=True, help="Exit with 1 if the change is so, such as 't2v.R@01 < -0.5pt'.")
@click.option("--changed", default=5, help="Queries to show whose ranks changed most.")
def compare(
    first: str | None, second: str | None, revisions: tuple[str, ...], fail_if: tuple[str, ...], changed: int
) -> None:
    """Compare two evaluations of the same queries: FIRST and SECOND, or FIRST at a git revision and here.

    An evaluation is a queries.parquet, or a folder that has one. Intervals and p-values are paired, over videos.

    Example:

    \b
        reelstore compare plots/emoji/efficientnet-lite0+minilm-l6/ridge plots/emoji/efficientnet-lite0+minilm-l6/mlp
        reelstore compare plots/emoji/efficientnet-lite0+minilm-l6/ridge --rev main --fail-if 't2v.R@01 < -0.5pt'
    """
    from reelstore.pipeline.compare import run_compare

    report = run_compare(first, second, revisions=revisions, fail_if=fail_if, n_changed=changed)
    click.echo(report.summary())
    if report.failed:
        sys.exit(1)


@click.command()
@click.argument("action", type=click.Choice(["check"]))
def metrics(action: str) -> None:
    """Check the metrics files against the thresholds of params.yaml; exit with 1 if one doesn't hold.

    Example:

    \b
        reelstore metrics check
    """
    from reelstore.pipeline.thresholds import check_thresholds

    report = check_thresholds(load_params())
    click.echo(report.summary())
    if report.failed:
        sys.exit(1)


@click.command()
def oracle() -> None:
    """Score llm-like by the truth it was drawn from: what no aligner can beat.

    Example:

    \b
        reelstore oracle
    """
    from reelstore.pipeline.oracle import run_oracle

    click.echo(run_oracle(load_params()).summary())
