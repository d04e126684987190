"""Imports run one way: cli -> project -> the folders in the middle -> store -> pooling, ranking -> the floor."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "reelstore"
FLOOR = {"arrays", "bounds", "errors", "extras", "io", "parquet", "plain", "prefetch", "records", "registry"}
FLOOR |= {"layout", "settings", "tables"}
LOW = {"pooling", "ranking"}
MIDDLE = {"align", "convert", "datasets", "doctor", "encoders", "evaluation", "pairs", "report", "video"}
UPWARD = {("store/pairs.py", "align.loading")}
"""The only import upwards: `store.pairs(...).loader()` gives align's loader, imported when it is called, since whoever
holds the pairs looks for the loader there. Add nothing to this set."""
HEAVY = {
    "torch",
    "transformers",
    "lightning",
    "wandb",
    "av",
    "PIL",
    "zarr",
    "pandas",
    "numpy",
    "pyarrow",
    "pydantic",
    "dvc",
}


def level(room: str) -> int:
    floors = (FLOOR, LOW, {"store"}, MIDDLE, {"fitting", "retrieval"}, {"project"})
    return next((number for number, rooms in enumerate(floors) if room in rooms), len(floors))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = {name.removeprefix("reelstore.") for name in names if name.startswith("reelstore.")}
    return ours - {"__version__"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return  # the public names, imported when used; and the command line by another name
    for name in sorted(imported(path)):
        other = name.split(".")[0]
        if other == room:
            continue
        allowed = level(other) < level(room) or level(room) == 0 == level(other)
        allowed = allowed or any(str(path.relative_to(SOURCE)) == own and name.startswith(to) for own, to in UPWARD)
        assert allowed, f"{path.relative_to(SOURCE)} imports reelstore.{name}"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, reelstore.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
    assert "reelstore.cli" in loaded
