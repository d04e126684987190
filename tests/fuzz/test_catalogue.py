"""The catalogue has every command, option and function that there is: a new one without an entry fails here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import click
from click.core import ParameterSource

import reelstore
from reelstore.cli import main

from . import calls
from .catalogue import COMMANDS

UNTRIED = {("reproduce report", "full")}
"""Options that take hours."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Name -> command, of all that aren't groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def given(words: list[str]) -> Iterator[tuple[str, str]]:
    """A command line -> its command with each option that it gives, and with "" for the command itself."""
    context, path = main.make_context("reelstore", words), []
    while isinstance(group := context.command, click.Group):
        name, command, words = group.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)
        context = command.make_context(name, words, parent=context)
    yield " ".join(path), ""
    for option in context.params:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            yield " ".join(path), option


def shared(command: str) -> str:
    """Formats of `import` share their options: each option is tried with one of them."""
    return "import" if command.startswith("import ") else command


def public() -> Iterator[str]:
    """Every function of the library, and every method of a store that reads or changes it."""
    for name in reelstore.__all__:
        found = getattr(reelstore, name)
        if callable(found) and not isinstance(found, type):
            yield name
    yield from (name for name in vars(reelstore.Store) if not name.startswith("_") and name not in ("get", "path"))


def test_every_command_and_option_is_in_the_catalogue() -> None:
    lines = [command.words.split() for command in COMMANDS.values()]
    tried = {one for words in lines if words[0] != "python" for one in given(words)}
    known = dict(commands(main))
    assert {name for name, _ in tried} == {*known}
    options = {
        (shared(name), option.name)
        for name, command in known.items()
        for option in command.params
        if isinstance(option, click.Option) and option.name != "help"
    }
    assert options - UNTRIED - {(shared(name), option) for name, option in tried} == set()


def test_every_function_of_the_library_is_called() -> None:
    tree = ast.parse(Path(calls.__file__).read_text())
    calls_made = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {function.attr for function in calls_made if isinstance(function, ast.Attribute)}
    assert {*public()} - called == set()
    words = {command.words for command in COMMANDS.values()}
    assert {f"python {name}" for name in calls.CALLS} == {one for one in words if one.startswith("python ")}
