"""Type checkers see real types in the public interface: no value that a user gets is Any."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER_CODE = Path(__file__).with_name("user_code.py")


def checked(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_strict_finds_real_types_in_user_code() -> None:
    checked("mypy", "--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/user_code", str(USER_CODE))


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright isn't installed")
def test_pyright_finds_real_types_in_user_code(tmp_path: Path) -> None:
    checked("pyright", "--pythonpath", sys.executable, str(USER_CODE))
