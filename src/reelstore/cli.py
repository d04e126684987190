"""The command line: each command parses, calls its stage, and prints what came back."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click

from reelstore import __version__
from reelstore.errors import PlanError, ReelstoreError
from reelstore.params import Params, load_params


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


def _model_arguments(command: Callable[..., None]) -> Callable[..., None]:
    return click.argument("video")(click.argument("text")(command))


@main.command()
def dataset() -> None:
    """Fetch or read the dataset and write its tables.

    Example:

    \b
        reelstore dataset
    """
    from reelstore.pipeline.dataset import build_dataset

    params = load_params()
    report = build_dataset(params.dataset, folder=params.data_folder, progress=_say)
    click.echo(report.summary())


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


@main.group(cls=_EmbedCommands, subcommand_metavar="SIDE/ENCODER | plan | task | finalise")
def embed() -> None:
    """Embed one side of the dataset with SIDE/ENCODER into the store.

    Rows whose content and encoder haven't changed are taken over; a run that was killed goes on where it was. The
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
    """


def _retry_failed(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--retry-failed", is_flag=True, help="Try rows again that failed before.")(command)


@embed.command("run")
@click.argument("encoder", nargs=-1, required=True, metavar="SIDE/ENCODER")
@_retry_failed
@click.option("--dry-run", is_flag=True, help="Say what would be done, its size and its time; write nothing.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that embed; embed.workers of params.yaml by default."
)
def embed_run(encoder: tuple[str, ...], retry_failed: bool, dry_run: bool, workers: int | None) -> None:
    """Plan, run all tasks, and finalise.

    Example:

    \b
        reelstore embed video/efficientnet-lite0
        reelstore embed text/minilm-l6 --dry-run
    """
    name = "/".join(encoder)
    params = load_params()
    if dry_run:
        from reelstore.pipeline.estimate import estimate_embed

        click.echo(estimate_embed(params, name, retry_failed=retry_failed).summary())
        return
    from reelstore.pipeline.embed import run_embed

    with _Bar(f"embed {name}") as bar:
        report = run_embed(
            params, name, retry_failed=retry_failed, workers=workers or params.embed.workers, progress=bar
        )
    click.echo(report.summary())


@embed.command("plan")
@click.argument("encoder", metavar="SIDE/ENCODER")
@_retry_failed
def embed_plan(encoder: str, retry_failed: bool) -> None:
    """Freeze what has to be embedded, as tasks numbered from 0.

    Example:

    \b
        reelstore embed plan video/efficientnet-lite0
    """
    from reelstore.pipeline.embed import freeze_plan

    plan = freeze_plan(load_params(), encoder, retry_failed=retry_failed)
    click.echo(f"{encoder}: {plan.n_todo} of {plan.n_rows} rows to embed, in {len(plan.tasks)} tasks.")


@embed.command("task")
@click.argument("words", nargs=-1, metavar="[SIDE/ENCODER] [NUMBER]...")
def embed_task(words: tuple[str, ...]) -> None:
    """Run tasks of the plan; all that aren't done where no NUMBER is given. SIDE/ENCODER may be left out where there
    is one plan.

    Example:

    \b
        reelstore embed task video/efficientnet-lite0 3 4
    """
    from reelstore.pipeline.embed import run_planned

    params = load_params()
    numbers = [int(word) for word in words if word.isdigit()]
    name = _planned(params, [word for word in words if not word.isdigit()])
    with _Bar(f"embed {name}") as bar:
        plan = run_planned(params, name, numbers, progress=bar)
    click.echo(f"{name}: tasks {', '.join(map(str, numbers)) or 'all'} of {len(plan.tasks)} are done.")


@embed.command("finalise")
@click.argument("encoder", nargs=-1, metavar="[SIDE/ENCODER]")
def embed_finalise(encoder: tuple[str, ...]) -> None:
    """Check that all tasks of the plan are done, and publish.

    Example:

    \b
        reelstore embed finalise video/efficientnet-lite0
    """
    from reelstore.pipeline.embed import finalise

    params = load_params()
    click.echo(finalise(params, _planned(params, list(encoder))).summary())


def _planned(params: Params, names: list[str]) -> str:
    """The encoder named, or the only one that has a plan."""
    from reelstore.pipeline.embed import open_plans

    plans = names or open_plans(params)
    if len(plans) != 1:
        raise PlanError(f"Name one SIDE/ENCODER; plans are open for: {', '.join(open_plans(params)) or 'none'}.")
    return plans[0]


@main.command()
@click.argument("encoder", metavar="SIDE/ENCODER")
def pool(encoder: str) -> None:
    """Pool the tokens of SIDE/ENCODER: first, last, max, mean and sum.

    Example:

    \b
        reelstore pool video/efficientnet-lite0
    """
    from reelstore.pipeline.pool import run_pool

    with _Bar(f"pool {encoder}") as bar:
        report = run_pool(load_params(), encoder, progress=bar)
    click.echo(report.summary())


@main.command()
@_model_arguments
def grid(video: str, text: str) -> None:
    """MRR of every pooling of VIDEO x every pooling of TEXT (encoders), unaligned.

    Example:

    \b
        reelstore grid efficientnet-lite0 minilm-l6
    """
    from reelstore.pipeline.grid import run_grid

    click.echo(run_grid(load_params(), video=video, text=text).summary())


@main.command()
@click.argument("name", default="captions")
def pairs(name: str) -> None:
    """Write the set of pairs NAME: which captions are shown with which videos, for training and validation.

    Sets stand under `pairs` and `mined` in params.yaml.

    Example:

    \b
        reelstore pairs captions
    """
    from reelstore.pipeline.pairs import run_pairs

    click.echo(run_pairs(load_params(), name).summary())


@main.command()
@click.argument("variant")
def leakage(variant: str) -> None:
    """Look in VARIANT for near-duplicates across splits; exit with 1 where params.yaml doesn't allow them.

    Example:

    \b
        reelstore leakage video/efficientnet-lite0/mean
    """
    from reelstore.pipeline.pairs import run_leakage

    click.echo(run_leakage(load_params(), variant).summary())


@main.command()
@_model_arguments
@click.argument("aligner")
def align(video: str, text: str, aligner: str) -> None:
    """Fit ALIGNER on the training pairs of the encoders VIDEO and TEXT.

    Example:

    \b
        reelstore align efficientnet-lite0 minilm-l6 ridge
    """
    from reelstore.pipeline.align import run_align

    click.echo(run_align(load_params(), video=video, text=text, aligner=aligner, progress=_say).summary())


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
def report() -> None:
    """Write one HTML page with all tables and plots.

    Example:

    \b
        reelstore report
    """
    from reelstore.pipeline.report import run_report

    click.echo(run_report(load_params()).summary())


@main.command()
def show() -> None:
    """Print the results, and where store, metrics, plots and report lie.

    Example:

    \b
        reelstore show
    """
    from reelstore.pipeline.show import results

    click.echo(results(load_params()).summary())


@main.group()
def preset() -> None:
    """Write settings that belong together into params.yaml.

    Example:

    \b
        reelstore preset list
        reelstore preset apply msrvtt-xclip --dry-run
    """


@preset.command("list")
def preset_list() -> None:
    """List the presets.

    Example:

    \b
        reelstore preset list
    """
    from reelstore.presets.catalogue import load_preset, preset_names

    for name in preset_names():
        click.echo(f"{name}: {load_preset(name).description}")


@preset.command("show")
@click.argument("name")
def preset_show(name: str) -> None:
    """Print the preset NAME as it stands in its file.

    Example:

    \b
        reelstore preset show msrvtt-xclip
    """
    from reelstore.presets.catalogue import load_preset

    click.echo(load_preset(name).text, nl=False)


@preset.command("apply")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
def preset_apply(name: str, dry_run: bool) -> None:
    """Write the preset NAME into params.yaml, and say what changed.

    What it doesn't name stays, comments included.

    Example:

    \b
        reelstore preset apply msrvtt-xclip
    """
    from reelstore.pipeline.preset import apply_preset

    click.echo(apply_preset(name, dry_run=dry_run).summary())


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("store"))
def ls(path: Path) -> None:
    """List what a store holds: rows, shape, dtype, bytes, coverage of each variant.

    Example:

    \b
        reelstore ls store
    """
    from reelstore.pipeline.inventory import inventory

    click.echo(inventory(path).summary())


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
def info(path: Path) -> None:
    """Say what one variant holds and what determined it.

    Example:

    \b
        reelstore info store/emoji/video/efficientnet-lite0/mean
    """
    from reelstore.pipeline.inventory import describe

    click.echo(describe(path))


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("store"))
@click.option("--quick", is_flag=True, help="Names, sizes and tables only; otherwise every file is read.")
@click.option("--all-rows", is_flag=True, help="Pool every row again from its tokens, not a sample.")
def verify(path: Path, quick: bool, all_rows: bool) -> None:
    """Check every variant at or below PATH: its files, its rows, pooled rows against their tokens.

    Exit code 1 where something is found.

    Example:

    \b
        reelstore verify store/emoji
        reelstore verify store/emoji/video/efficientnet-lite0/mean --quick
    """
    from reelstore.pipeline.verify import verify as run_verify

    with _Bar("verify", unit="variant") as bar:
        report = run_verify(path, quick=quick, all_rows=all_rows, progress=bar)
    click.echo(report.summary())
    if report.findings:
        sys.exit(1)


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("store"))
def repair(path: Path) -> None:
    """Finish or make again what `reelstore verify` finds wrong at or below PATH, and nothing else.

    Example:

    \b
        reelstore repair store/emoji
    """
    from reelstore.pipeline.repair import repair as run_repair

    with _Bar("repair") as bar:
        report = run_repair(load_params(), path, progress=bar)
    click.echo(report.summary())
    if report.after.findings:
        sys.exit(1)


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("store"))
def migrate(path: Path) -> None:
    """Bring every variant at or below PATH to the present schema; nothing is embedded again.

    Example:

    \b
        reelstore migrate store
    """
    from reelstore.store.integrity import variant_folders
    from reelstore.store.migrate import migrate as migrate_variant

    for folder in variant_folders(path):
        report = migrate_variant(folder)
        click.echo(
            f"{folder}: " + ("is of the present schema" if report is None else f"migrated, {report.n_rows} rows")
        )


def _say(message: str) -> None:
    click.echo(message, err=True)


class _Bar:
    """Progress on stderr: a bar on a terminal, a line every now and then elsewhere."""

    def __init__(self, label: str, *, unit: str = "row") -> None:
        self._label = label
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> "_Bar":
        return self

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is not None and self._bar.total != total:
            self._bar.close()
            self._bar = None
        if self._bar is None:
            seconds = 0.5 if sys.stderr.isatty() else 15
            self._bar = tqdm(total=total, desc=self._label, unit=self._unit, mininterval=seconds, disable=not total)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
