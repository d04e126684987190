"""`reelstore preset`: settings that belong together, into params.yaml."""

import click

from reelstore.cli.progress import echo


@click.group()
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
    from reelstore.project.presets.catalogue import load_preset, preset_names

    for name in preset_names():
        echo(f"{name}: {load_preset(name).description}")


@preset.command("show")
@click.argument("name")
def preset_show(name: str) -> None:
    """Print the preset NAME as it stands in its file.

    Example:

    \b
        reelstore preset show msrvtt-xclip
    """
    from reelstore.project.presets.catalogue import load_preset

    echo(load_preset(name).text, nl=False)


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
    from reelstore.project.preset import apply_preset

    echo(apply_preset(name, dry_run=dry_run).summary())
