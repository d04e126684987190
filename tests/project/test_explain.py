"""`reelstore params` explains every value there is."""

from dataclasses import fields

import pytest
from click.testing import CliRunner

from reelstore.project import settings as params
from reelstore.cli import main
from reelstore.project.explain import explain_params


def test_every_section_and_every_value_is_explained() -> None:
    said = CliRunner().invoke(main, ["params"]).output
    sections = dict(part.split(":", 1) for part in said.split("\n\n"))
    assert list(sections) == [field.name for field in fields(params.Params)]
    for name in ("dataset", "embed", "evaluate", "leakage"):
        owner = type(getattr(params.Params(), name))
        for field in fields(owner):
            (line,) = [line for line in sections[name].splitlines() if line.startswith(f"  {field.name} (")]
            assert len(line.split("): ", 1)[1]) > 5
    assert "  <name>.embedding (''): Pooled variant" in sections["mined"]


def test_an_unknown_section_is_refused() -> None:
    found = CliRunner().invoke(main, ["params", "encoder"])
    assert found.exit_code == 1
    assert "encoders" in found.output


@pytest.mark.parametrize("section", ["pairs", "mined"])
def test_one_section_alone(section: str) -> None:
    assert explain_params(section).startswith(f"{section}: ")
    assert "\n\n" not in explain_params(section)
