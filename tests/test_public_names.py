"""The names of `reelstore` itself: imported when they are used, listed, and the same for Python and type checkers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reelstore


def test_every_public_name_is_there_and_listed() -> None:
    for name in reelstore.__all__:
        assert getattr(reelstore, name) is not None
    assert set(reelstore.__all__) <= set(dir(reelstore))
    assert not {"TYPE_CHECKING", "import_module"} & set(dir(reelstore))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'reelstore' has no attribute 'opne'"):
        reelstore.opne  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_what_is_imported() -> None:
    tree = ast.parse(Path(reelstore.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {
        alias.asname or alias.name: f"{(node.module or '').removeprefix('reelstore.')}:{alias.name}"
        for node in imports
        for alias in node.names
    }
    assert typed == reelstore._WHERE
    assert sorted([*typed, "__version__"]) == sorted(reelstore.__all__)


def test_importing_it_imports_nothing_but_pythons_own() -> None:
    code = "import sys; sys.path.append(sys.argv[1]); import reelstore; dir(reelstore); print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, str(Path(reelstore.__file__).parents[1])]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in found.stdout.split()}
    assert names - sys.stdlib_module_names == {"__main__", "reelstore"}
