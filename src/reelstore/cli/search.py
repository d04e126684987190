"""`search`: a sentence, and the videos nearest to it."""

import click

from reelstore.cli.progress import echo
from reelstore.cli.project import load_params


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("sentences", metavar="SENTENCE...", nargs=-1, required=True)
@click.option("--aligner", help="A fitted aligner; the first of params.yaml that isn't `unaligned` by default.")
@click.option(
    "-k", "k", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="Videos for each sentence."
)
@click.option("--split", help="Of the videos; all by default.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each sentence.")
def search(
    model: str, sentences: tuple[str, ...], aligner: str | None, k: int, split: str | None, as_json: bool
) -> None:
    """Find the videos nearest to each SENTENCE in the joint space of MODEL, VIDEO+TEXT: exactly, as `evaluate` ranks.

    Videos come from the aligner's stored variant (`reelstore apply`) where it is up to date, else they are mapped now.

    Example:

    \b
        reelstore search efficientnet-lite0+minilm-l6 "a smiling cat"
        reelstore search efficientnet-lite0+minilm-l6 "a cat" "a dog" --aligner mlp --split test -k 3 --json
    """
    from reelstore.project.search import run_search

    report = run_search(load_params(), model, sentences, aligner=aligner, k=k, split=split)
    echo(report.as_json() if as_json else report.summary())
