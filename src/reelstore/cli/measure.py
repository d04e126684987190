"""`evaluate`, `compare` and `metrics`: numbers, and what became of them."""

import sys
from pathlib import Path
from typing import Any

import click

from reelstore.cli.names import names
from reelstore.cli.progress import Bar, echo
from reelstore.cli.project import load_params

_PATH = click.Path(path_type=Path)
_CHANGED = click.IntRange(0, 1_000_000)
_CUT_OFF = click.IntRange(1, 1_000_000)


@click.command()
@click.argument("video", required=False)
@click.argument("text", required=False)
@click.argument("aligner", required=False)
@click.option("--text", "text_side", help="Captions: a .npy (n_captions, dim), or <encoder>/<variant> of --store.")
@click.option("--video", "video_side", help="Videos: a .npy (n_videos, dim), or <encoder>/<variant> of --store.")
@click.option("--aligner", "named", help="The same as ALIGNER, for dvc.yaml; --video and --text are the encoders then.")
@click.option("--keys", type=_PATH, help="Table of the two files: video_id a caption, or caption,video as row numbers.")
@click.option("--store", type=_PATH, help="Folder of a dataset's store: where the files go, or what is measured.")
@click.option("--encoder", default="imported", help="What made the files, as the store calls it.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Round files to it; as they are otherwise.")
@click.option("--split", help="Of --keys or --store, where there are several; all for all of them together.")
@click.option("--similarity", default="cosine", help="Of files and --store: cosine, dot or euclidean.")
@click.option("--ties", default="expected", help="Of files and --store: expected, optimistic or pessimistic.")
@click.option(
    "-k", "ks", type=_CUT_OFF, multiple=True, default=(1, 5, 10), help="Of files, --store: a cut-off; repeat it."
)
@click.option("--output", type=_PATH, help="Of files and --store: folder for what was found.")
def evaluate(
    video: str | None,
    text: str | None,
    aligner: str | None,
    text_side: str | None,
    video_side: str | None,
    named: str | None,
    keys: Path | None,
    store: Path | None,
    encoder: str,
    dtype: str | None,
    split: str | None,
    similarity: str,
    ties: str,
    ks: tuple[int, ...],
    output: Path | None,
) -> None:
    """Measure ALIGNER of the encoders VIDEO and TEXT on the test split: ranks, metrics, intervals.

    Or, without a project: two .npy files and a table of keys, which with --store are kept there as well; or two
    variants of a store.

    Example:

    \b
        reelstore evaluate efficientnet-lite0 minilm-l6 ridge
        reelstore evaluate --text t.npy --video v.npy --keys pairs.csv --store store/mine
        reelstore evaluate --store store/mine --text minilm-l6/mean --video clip/mean --split test
    """
    if named is not None and video is None:
        video, text, aligner = video_side, text_side, named
    if video is not None and text is not None and aligner is not None:
        from reelstore.project.evaluate.stage import run_evaluate

        echo(run_evaluate(load_params(), video=video, text=text, aligner=aligner).summary())
        return
    if video is not None or (store is None and None in (text_side, video_side, keys)):
        raise click.UsageError("Give VIDEO TEXT ALIGNER; or --text, --video and --keys; or --store.")
    how: dict[str, Any] = {"similarity": similarity, "ties": ties, "ks": ks, "output": output}
    if keys is None:
        from reelstore.project.evaluate.store import evaluate_store

        assert store is not None
        echo(evaluate_store(store, text=text_side, video=video_side, split=split, **how).summary())
        return
    if text_side is None or video_side is None:
        raise click.UsageError("--keys is the table of two files; give them with --text and --video.")
    files = Path(text_side), Path(video_side), keys
    if store is None:
        from reelstore.project.evaluate.files import evaluate_files

        echo(evaluate_files(*files, split=split, **how).summary())
        return
    from reelstore.project.evaluate.store import evaluate_store, import_pair

    with Bar("import") as bar:
        echo(import_pair(*files, store=store, encoder=encoder, dtype=dtype, progress=bar))
    variant = f"{encoder}/embedding"
    echo(evaluate_store(store, text=variant, video=variant, split=split, **how).summary())


@click.command()
@names("video", "text", "aligner", "protocol")
def protocol(video: str, text: str, aligner: str, protocol: str) -> None:
    """Measure ALIGNER of the encoders VIDEO and TEXT under PROTOCOL, which rescores what all test queries scored.

    Dual softmax and inverted softmax use the other test queries, QB-Norm a bank of training queries; `protocols` in
    params.yaml names them. What is found has files of its own.

    Example:

    
        reelstore protocol efficientnet-lite0 minilm-l6 ridge dsl
    """
    from reelstore.project.evaluate.protocol import run_protocol

    report = run_protocol(load_params(), video=video, text=text, aligner=aligner, protocol=protocol)
    echo(report.summary())


@click.command()
@click.argument("first", required=False)
@click.argument("second", required=False)
@click.option("--rev", "revisions", multiple=True, help="Git revision of FIRST, against the workspace; two: of both.")
@click.option("--fail-if", multiple=True, help="Exit with 1 if the change is so, such as 't2v.R@01 < -0.5pt'.")
@click.option("--primary", help="Metric whose p-value isn't corrected for the number of metrics; t2v.MRR by default.")
@click.option("--changed", type=_CHANGED, default=5, help="Queries to show whose ranks changed most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def compare(
    first: str | None,
    second: str | None,
    revisions: tuple[str, ...],
    fail_if: tuple[str, ...],
    primary: str | None,
    changed: int,
    as_json: bool,
) -> None:
    """Compare two evaluations of the same queries: FIRST and SECOND, or FIRST at a git revision and here.

    An evaluation is a queries.parquet, a folder that has one, or its metrics file. Intervals and p-values are paired,
    over videos. One metric is primary; p-values of the others are also given with Holm's correction.

    Example:

    \b
        reelstore compare plots/emoji/efficientnet-lite0+minilm-l6/ridge plots/emoji/efficientnet-lite0+minilm-l6/mlp
        reelstore compare plots/emoji/efficientnet-lite0+minilm-l6/ridge --rev main --fail-if 't2v.R@01 < -0.5pt'
    """
    from reelstore.evaluation.files import json_bytes
    from reelstore.project.evaluate.compare import run_compare

    report = run_compare(first, second, revisions=revisions, fail_if=fail_if, primary=primary, n_changed=changed)
    echo(json_bytes(report.as_json()).decode().rstrip() if as_json else report.summary())
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
    from reelstore.project.evaluate.thresholds import check_thresholds

    report = check_thresholds(load_params())
    echo(report.summary())
    if report.failed:
        sys.exit(1)


@click.command()
def oracle() -> None:
    """Score llm-like by the truth it was drawn from: what no aligner can beat.

    Example:

    \b
        reelstore oracle
    """
    from reelstore.project.evaluate.oracle import run_oracle

    echo(run_oracle(load_params()).summary())
