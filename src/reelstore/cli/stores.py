"""What a store holds, and whether it is sound."""

import sys
from pathlib import Path

import click

from reelstore.cli.progress import Bar, echo
from reelstore.cli.project import load_params
from reelstore.errors import StoreError
from reelstore.io import readable_bytes
from reelstore.layout import STORES


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=STORES)
def ls(path: Path) -> None:
    """List what a store holds: rows, shape, dtype, bytes, coverage of each variant.

    Exit code 1 where a variant is damaged.

    Example:

    \b
        reelstore ls store
    """
    from reelstore.project.stores.inventory import inventory

    found = inventory(path)
    echo(found.summary())
    if found.damaged:
        raise StoreError(f"{len(found.damaged)} of the variants can't be read. Look at them with reelstore verify.")


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def info(path: Path) -> None:
    """Say what one variant holds and what determined it.

    Example:

    \b
        reelstore info store/emoji/video/efficientnet-lite0/mean
    """
    from reelstore.project.stores.inventory import describe

    echo(describe(path))


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=STORES)
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
    from reelstore.project.stores.verify import verify as run_verify

    with Bar("verify", unit="variant") as bar:
        report = run_verify(path, quick=quick, all_rows=all_rows, progress=bar)
    echo(report.summary())
    if report.findings:
        sys.exit(1)


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=STORES)
def migrate(path: Path) -> None:
    """Write every variant at or below PATH that an older reelstore wrote in the present format. Nothing is computed.

    Older variants stay readable without it. Killed, a variant is in the old or the new format; run it again.

    Example:

    \b
        reelstore migrate store/emoji
    """
    from reelstore.store.groups import variant_folders
    from reelstore.store.migrate import migrate_variant

    folders = variant_folders(path)
    if not folders:
        raise StoreError(f"There is no variant at or below {path}.")
    n_migrated = 0
    for folder in folders:
        done = migrate_variant(folder)
        if done is not None:
            n_migrated += 1
            echo(f"{folder}: {done.n_rows} rows, {readable_bytes(done.n_bytes_written)}. Digest {done.digest[:12]}.")
    echo(f"{n_migrated} of {len(folders)} variants were written in the present format; the others are in it.")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=STORES)
def repair(path: Path) -> None:
    """Finish or make again what `reelstore verify` finds wrong at or below PATH, and nothing else.

    Example:

    \b
        reelstore repair store/emoji
    """
    from reelstore.project.stores.repair import repair as run_repair

    with Bar("repair") as bar:
        report = run_repair(load_params(), path, progress=bar)
    echo(report.summary())
    if report.after.findings:
        sys.exit(1)
