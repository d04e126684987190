"""`embed`: in one go, or as plan, tasks and finalise."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from reelstore.cli.names import names
from reelstore.cli.progress import Bar, echo, say
from reelstore.cli.project import load_params
from reelstore.errors import PlanError

if TYPE_CHECKING:
    from reelstore.project.embed.stage import EmbedReport
    from reelstore.project.settings import Params


class _EmbedCommands(click.Group):
    """`embed SIDE/ENCODER` runs plan, tasks and finalise; each can be named instead."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Options before SIDE/ENCODER are those of `run`; -h alone is the group's.
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_EmbedCommands, subcommand_metavar="SIDE/ENCODER | plan | task | finalise | check")
def embed() -> None:
    """Embed one side of the dataset with SIDE/ENCODER into the store.

    Rows whose content and encoder haven't changed are reused, and a pooling is made from stored tokens where they are
    there; the network is loaded only if a row needs it. A run that was killed goes on where it was. The
    options of a plain run are those of `reelstore embed run --help`. For many machines, plan once, run the tasks
    anywhere that sees this folder, and finalise once.

    Example:

    \b
        reelstore embed video/efficientnet-lite0 --workers 2
        reelstore embed text/minilm-l6 --dry-run
    \b
        reelstore embed plan video/efficientnet-lite0
        reelstore embed task video/efficientnet-lite0 0 1
        reelstore embed finalise video/efficientnet-lite0
    \b
        reelstore embed check video/efficientnet-lite0
    """


def _retry_failed(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--retry-failed", is_flag=True, help="Try rows again that failed before.")(command)


@embed.command("run")
@names("encoder", metavar="SIDE/ENCODER")
@_retry_failed
@click.option("--dry-run", is_flag=True, help="Say what would be done and its size; write nothing, load no network.")
@click.option("--measure", is_flag=True, help="With --dry-run: embed a few rows, and say how long all of them take.")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes that embed; embed.workers of params.yaml by default."
)
def embed_run(encoder: str, retry_failed: bool, dry_run: bool, measure: bool, workers: int | None) -> None:
    """Plan, run all tasks, and finalise.

    Example:

    \b
        reelstore embed video/efficientnet-lite0
        reelstore embed text/minilm-l6 --dry-run
        reelstore embed text/minilm-l6 --dry-run --measure
    """
    if measure and not dry_run:
        raise click.UsageError("--measure goes with --dry-run.")
    params = load_params()
    if dry_run:
        from reelstore.project.stores.estimate import estimate_embed

        echo(estimate_embed(params, encoder, retry_failed=retry_failed, measure=measure).summary())
        return
    from reelstore.project.embed.stage import run_embed

    with Bar(f"embed {encoder}") as bar:
        report = run_embed(
            params, encoder, retry_failed=retry_failed, workers=workers or params.embed.workers, progress=bar
        )
    _echo_report(report)


@embed.command("plan")
@click.argument("encoder", metavar="SIDE/ENCODER")
@_retry_failed
def embed_plan(encoder: str, retry_failed: bool) -> None:
    """Freeze what has to be embedded, as tasks numbered from 0.

    Example:

    \b
        reelstore embed plan video/efficientnet-lite0
    """
    from reelstore.project.embed.stage import freeze_plan

    plan = freeze_plan(load_params(), encoder, retry_failed=retry_failed)
    to_pool = f" and {plan.n_to_pool} to pool from stored tokens" if plan.n_to_pool else ""
    echo(f"{encoder}: {plan.n_todo} of {plan.n_rows} rows to embed{to_pool}, in {len(plan.tasks)} tasks.")


@embed.command("task")
@click.argument("words", nargs=-1, metavar="[SIDE/ENCODER] [NUMBER]...")
def embed_task(words: tuple[str, ...]) -> None:
    """Run tasks of the plan; all that aren't done where no NUMBER is given. SIDE/ENCODER may be left out where there
    is one plan.

    Example:

    \b
        reelstore embed task video/efficientnet-lite0 3 4
    """
    from reelstore.project.embed.stage import run_planned

    params = load_params()
    numbers = [int(word) for word in dict.fromkeys(words) if _is_number(word)]
    name = _planned(params, [word for word in words if not _is_number(word)])
    with Bar(f"embed {name}") as bar:
        plan = run_planned(params, name, numbers, progress=bar)
    echo(f"{name}: tasks {', '.join(map(str, numbers)) or 'all'} of {len(plan.tasks)} are done.")


@embed.command("check")
@click.argument("encoder", metavar="video/ENCODER")
@click.option("--videos", type=click.IntRange(1, 10_000), default=32, show_default=True, help="Videos to look at.")
def embed_check(encoder: str, videos: int) -> None:
    """Check that a video encoder is fed the pixels its network was trained on.

    Compares what the network's first batch norm sees on the dataset's videos with the mean and variance it has stored
    from training. A wrong mean, deviation or range of the pixels shows as a variance twice too large or small.

    Example:

    \b
        reelstore embed check video/efficientnet-lite0
    """
    from reelstore.project.embed.check_input import check_input

    echo(check_input(load_params(), encoder, n_videos=videos))


@embed.command("finalise")
@click.argument("encoder", nargs=-1, metavar="[SIDE/ENCODER]")
def embed_finalise(encoder: tuple[str, ...]) -> None:
    """Check that all tasks of the plan are done, and publish.

    Example:

    \b
        reelstore embed finalise video/efficientnet-lite0
    """
    from reelstore.project.embed.stage import finalise

    params = load_params()
    _echo_report(finalise(params, _planned(params, list(encoder))))


def _echo_report(report: "EmbedReport") -> None:
    echo(report.summary())
    if report.warning:
        say(f"Warning: {report.warning}")


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10


def _planned(params: "Params", names: list[str]) -> str:
    """The encoder named, or the only one that has a plan."""
    from reelstore.project.embed.stage import open_plans

    plans = names or open_plans(params)
    if len(plans) != 1:
        raise PlanError(f"Name one SIDE/ENCODER; plans are open for: {', '.join(open_plans(params)) or 'none'}.")
    return plans[0]
