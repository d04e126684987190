"""What params.yaml may say: each value's default, limits and the line that explains it, for people and for editors."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from reelstore.datasets.base import DatasetParams
from reelstore.datasets.registry import DATASETS, settings_of
from reelstore.errors import ReelstoreError, UnknownNameError
from reelstore.project.settings import Params
from reelstore.settings import Settings, limit


def explain_params(section: str | None = None) -> str:
    """Every section of params.yaml with its values, or one of them.

    Raises:
        UnknownNameError: params.yaml has no such section.
    """
    known = Params.model_fields
    if section is not None and section not in known:
        raise UnknownNameError("section of params.yaml", section, known)
    return "\n\n".join(_section(name, field) for name, field in known.items() if section in (None, name))


def params_schema() -> dict[str, Any]:
    """The JSON schema of params.yaml, with which editors complete and check it."""
    schema = Params.model_json_schema()
    kinds = {}
    for kind, settings in _datasets().items():
        own = settings.model_json_schema(ref_template="#/$defs/{model}")
        schema["$defs"] |= own.pop("$defs", {})
        kinds[kind] = own | {"properties": own["properties"] | {"kind": {"const": kind}}}
        kinds[kind]["required"] = ["kind"]
    schema["$defs"]["DatasetParams"] = {"oneOf": list(kinds.values())}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "params.yaml of reelstore"}


def _datasets() -> dict[str, type[DatasetParams]]:
    """Kind -> its settings, but for plug-ins that can't be imported."""
    found = {}
    for kind in DATASETS:
        try:
            found[kind] = settings_of(kind)
        except ReelstoreError:
            continue
    return found


def _section(name: str, field: FieldInfo) -> str:
    parts = [field.annotation, *_parts(field.annotation)]
    held = next((part for part in parts if isinstance(part, type) and issubclass(part, Settings)), None)
    title = " ".join((field.description or (inspect.getdoc(held) or "").split("\n")[0]).split())
    if held is None:
        return f"{name}: {title}"
    indent = "  " if held is field.annotation else "  <name>."
    lines = [f"{indent}{_setting(*one)}" for one in held.model_fields.items()]
    if held is DatasetParams:
        lines += [
            f"{indent}{_setting(own, about, of=f'of {kind}; ')}"
            for kind, settings in _datasets().items()
            for own, about in settings.model_fields.items()
            if own not in held.model_fields and not about.deprecated
        ]
    return "\n".join([f"{name}: {title}", *lines])


def _setting(name: str, field: FieldInfo, *, of: str = "") -> str:
    default = "needed" if field.is_required() else _plain(field.get_default(call_default_factory=True))
    bounds = _bounds(field.annotation, field.metadata)
    return f"{name} ({of}{default}{bounds}): {' '.join((field.description or '').split())}"


def _bounds(annotation: Any, metadata: list[Any]) -> str:
    """`; it must be …` of a number or of a list's items; the words where there are only some."""
    limits = {key: getattr(one, key) for one in metadata for key in ("gt", "ge", "lt", "le") if hasattr(one, key)}
    if limits:
        return f"; it must {limit(limits)}"
    if get_origin(annotation) is Literal:
        return f"; one of {', '.join(map(str, get_args(annotation)))}"
    for part in get_args(annotation):
        if (held := FieldInfo.from_annotation(part)).metadata or get_origin(part) is Literal:
            return _bounds(held.annotation, held.metadata)
    return ""


def _parts(kind: Any) -> list[Any]:
    """The types that a type is made of, at any depth."""
    return [inner for part in get_args(kind) for inner in (part, *_parts(part))]


def _plain(value: Any) -> str:
    """As YAML has it."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"
