"""`reelstore params` explains every value there is."""

import json

import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.project import settings as params
from reelstore.project.explain import explain_params


def test_every_section_and_every_value_is_explained() -> None:
    said = CliRunner().invoke(main, ["params"]).output
    sections = dict(part.split(":", 1) for part in said.split("\n\n"))
    assert list(sections) == [name for name in params.Params.model_fields]
    for name in ("dataset", "embed", "evaluate", "leakage"):
        owner = type(getattr(params.Params(), name))
        for field in (one for one, about in owner.model_fields.items() if not about.deprecated):
            (line,) = [line for line in sections[name].splitlines() if line.startswith(f"  {field} (")]
            assert len(line.split("): ", 1)[1]) > 5
    assert "  <name>.embedding (needed): Pooled variant" in sections["mined"]


def test_an_unknown_section_is_refused() -> None:
    found = CliRunner().invoke(main, ["params", "encoder"])
    assert found.exit_code == 1
    assert "encoders" in found.output


@pytest.mark.parametrize("section", ["pairs", "mined"])
def test_one_section_alone(section: str) -> None:
    assert explain_params(section).startswith(f"{section}: ")
    assert "\n\n" not in explain_params(section)


def test_the_schema_has_every_section_and_the_settings_of_each_kind_of_dataset() -> None:
    schema = json.loads(CliRunner().invoke(main, ["params", "--schema"]).output)
    assert set(schema["properties"]) == set(params.Params.model_fields) and schema["additionalProperties"] is False
    kinds = {one["properties"]["kind"]["const"]: one for one in schema["$defs"]["DatasetParams"]["oneOf"]}
    assert set(kinds) >= {"emoji", "folder", "msrvtt", "llm-like"} and "cut" not in kinds["emoji"]["properties"]
    assert schema["$defs"]["EmbedParams"]["properties"]["threads"] == {
        "default": 1, "description": schema["$defs"]["EmbedParams"]["properties"]["threads"]["description"],
        "maximum": 1024, "minimum": 1, "title": "Threads", "type": "integer",
    }  # fmt: skip
