"""`params`: what params.yaml may say."""

import click

from reelstore.cli.progress import echo


@click.command()
@click.argument("section", required=False)
def params(section: str | None) -> None:
    """Explain every value of params.yaml, or those of one SECTION: default and meaning.

    Example:

    \b
        reelstore params
        reelstore params embed
    """
    from reelstore.project.explain import explain_params

    echo(explain_params(section))
