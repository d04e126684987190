"""The command line: each command parses, calls its stage, and prints what came back."""

import sys
from typing import Any

from reelstore.errors import PlatformError

if sys.platform == "win32":
    sys.exit(f"Error: {PlatformError()}")

import click

from reelstore import __version__
from reelstore.cli import convert, doctor, embed, measure, params, preset, reproduce, search, splits, stages, stores
from reelstore.cli.border import border


class _Commands(click.Group):
    """Expected errors become a line and exit code 1, a signal 128 + its number; a fault of ours keeps its traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with border():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with border():
            return super().invoke(ctx)

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
    splits.splits,
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
    convert.import_,
    convert.export,
):
    main.add_command(_command)
