"""A package that isn't installed is one line with the command that installs it; one that is broken keeps its error."""

import pytest

from reelstore.errors import MissingExtraError, ReelstoreError
from reelstore.extras import EXTRA_OF, needed


@pytest.mark.parametrize("package", sorted(EXTRA_OF))
def test_a_package_that_is_not_installed_is_named_with_its_extra(package: str) -> None:
    with pytest.raises(MissingExtraError) as found, needed("embedding"):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    assert str(found.value) == (
        f"embedding needs {package}, which isn't installed. Run: pip install 'reelstore[{EXTRA_OF[package]}]'."
    )
    assert isinstance(found.value, ReelstoreError) and isinstance(found.value, ImportError)
    assert found.value.__suppress_context__, "one traceback, not two"


def test_the_extra_that_has_all_that_is_needed_is_named() -> None:
    with pytest.raises(MissingExtraError, match=r"reelstore\[train\]"), needed("aligner mlp", extra="train"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torch._C'", name="torch._C"),
        ModuleNotFoundError("No module named 'typing_extensions'", name="typing_extensions"),
        ImportError("libcudart.so.12: cannot open shared object file", name="torch"),
        OSError("libgomp.so.1: cannot open shared object file"),
    ],
)
def test_a_package_that_is_installed_and_broken_keeps_its_error(error: Exception) -> None:
    with pytest.raises(type(error)) as found, needed("embedding"):
        raise error
    assert found.value is error


def test_what_is_inside_goes_on_where_nothing_is_missing() -> None:
    with needed("embedding"):
        import numpy
    assert numpy.__name__ == "numpy"
