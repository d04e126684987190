"""The presets there are: YAML files in this folder, each a description and values by dotted key."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from reelstore.errors import ParamsError, PresetError, UnknownNameError
from reelstore.project.presets.splice import Snippet, snippets

_FIELDS = {"description", "values"}


@dataclass(frozen=True)
class Preset:
    """Settings under a name.

    Attributes:
        name: of its file, without the ending.
        description: what it is for, in a line.
        values: dotted key, as `dataset` or `evaluate.split` -> what stands there afterwards, and nothing beside it.
        text: the file.
    """

    name: str
    description: str
    values: Mapping[str, Snippet]
    text: str

    @classmethod
    def parse(cls, name: str, text: str) -> "Preset":
        """A preset from the text of its file.

        Raises:
            PresetError: it isn't one.
        """
        from reelstore.project.settings.document import parse_document

        try:
            raw: Any = parse_document(text, f"the preset {name}").values
        except ParamsError as error:
            raise PresetError(str(error)) from error
        if not isinstance(raw, dict) or set(raw) != _FIELDS or not isinstance(raw["values"], dict) or not raw["values"]:
            raise PresetError(f"The preset {name} must have a `description` and a mapping of `values`, and only these.")
        return cls(name, " ".join(str(raw["description"]).split()), snippets(text, "values"), text)


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    found = (file.name for file in files("reelstore.project.presets").iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def load_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in preset_names():
        raise UnknownNameError("preset", name, preset_names())
    return Preset.parse(name, files("reelstore.project.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
