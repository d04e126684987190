"""What params.yaml may say: each value's default and the line that explains it."""

import ast
import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from reelstore.errors import UnknownNameError
from reelstore.project.settings import Params, Threshold, params, sections


def explain_params(section: str | None = None) -> str:
    """Every section of params.yaml with its values, or one of them.

    Raises:
        UnknownNameError: params.yaml has no such section.
    """
    said = _field_docs()
    kinds = get_type_hints(Params)
    known = {field.name: field for field in fields(Params)}
    if section is not None and section not in known:
        raise UnknownNameError("section of params.yaml", section, known)
    return "\n\n".join(_section(field, kinds[name], said) for name, field in known.items() if section in (None, name))


def _section(section: "Field[Any]", kind: Any, said: dict[tuple[str, str], str]) -> str:
    title = said.get(("Params", section.name), "")
    held = next((part for part in (kind, *get_args(kind)) if isinstance(part, type) and is_dataclass(part)), None)
    if held is None or held is Threshold:
        return f"{section.name}: {title}"
    title = title or (inspect.getdoc(held) or "").splitlines()[0]
    indent = "  " if held is kind else "  <name>."
    lines = []
    for field in fields(held):
        owner = next(cls.__name__ for cls in held.__mro__ if (cls.__name__, field.name) in said)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        limit = f"; it must {field.metadata['limit']}" if "limit" in field.metadata else ""
        lines.append(f"{indent}{field.name} ({_plain(default)}{limit}): {said[owner, field.name]}")
    return "\n".join([f"{section.name}: {title}", *lines])


def _plain(value: Any) -> str:
    """As YAML has it."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _field_docs() -> dict[tuple[str, str], str]:
    """(class, field) -> the text under the field, which Python itself doesn't keep."""
    docs = {}
    for cls in ast.parse(inspect.getsource(sections) + inspect.getsource(params)).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, below in zip(cls.body, cls.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[cls.name, name] = " ".join(text.split())
    return docs
