"""The command line: each command parses, calls its stage, and prints what came back."""

from typing import Any

import click

from reelstore import __version__
from reelstore.cli import doctor, embed, exchange, measure, params, preset, reproduce, search, stages, stores
from reelstore.errors import ReelstoreError


class _Commands(click.Group):
    """Expected errors become a message and exit code 1; unexpected ones keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReelstoreError as error:
            notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
            raise click.ClickException(f"{error}{notes}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the pipeline, not of the alphabet."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Embeddings for text-video retrieval: made once, versioned, aligned, measured.

    Stages are run by `dvc repro` in the order below, or by hand from the project's folder; params.yaml has their
    settings.

    Example:

    \b
        dvc repro
        reelstore show
    """


# In the order of the pipeline, which is that of --help.
for _command in (
    stages.dataset,
    embed.embed,
    stages.pool,
    stages.grid,
    doctor.doctor,
    stages.pairs,
    stages.leakage,
    stages.check_loader,
    stages.align,
    stages.apply,
    measure.evaluate,
    measure.protocol,
    measure.oracle,
    measure.compare,
    measure.metrics,
    stages.report,
    reproduce.reproduce,
    stages.show,
    search.search,
    params.params,
    preset.preset,
    stores.ls,
    stores.info,
    stores.verify,
    stores.repair,
    stores.migrate,
    exchange.import_,
    exchange.export,
):
    main.add_command(_command)
