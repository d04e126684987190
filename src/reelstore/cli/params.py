"""`params`: what params.yaml may say."""

import json

import click

from reelstore.cli.progress import echo


@click.command()
@click.argument("section", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON schema of params.yaml, for editors.")
def params(section: str | None, schema: bool) -> None:
    """Explain every value of params.yaml, or those of one SECTION: default, limits and meaning.

    An editor that knows the schema completes and checks params.yaml: docs/params.md.

    Example:

    \b
        reelstore params
        reelstore params embed
        reelstore params --schema > params.schema.json
    """
    from reelstore.project.explain import explain_params, params_schema

    echo(json.dumps(params_schema(), indent=1) if schema else explain_params(section))
