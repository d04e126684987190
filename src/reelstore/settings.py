"""Settings, wherever they are declared: strict, frozen pydantic models, and errors that name the key."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from reelstore.errors import ParamsError
from reelstore.records import reserved_fault

T = TypeVar("T")
M = TypeVar("M", bound="Settings")

MAX_SEED = 2**32 - 1
"""What numpy, torch and Lightning all take."""
MAX_ITEMS = 1000
"""Limit for a list of numbers or names."""
_INTEGERS = -(2**63), 2**63 - 1
_SHOWN_CHARACTERS = 80
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


class Settings(BaseModel):
    """Base of all settings: an unknown key, or a value of another type or out of range, is a ParamsError.

    A bool is no number and a text is no number; a whole number is a float too. The text under a field documents it.

    Example:
        >>> class Optimiser(Settings):
        ...     lr: Annotated[float, Field(gt=0, le=100)] = 1e-3
        >>> Optimiser(lr=0)
        Traceback (most recent call last):
        ...
        reelstore.errors.ParamsError: lr is 0; it must be above 0.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise refused(error, values) from None

    # Pydantic would call it for each nested model too, were it not marked as doing what BaseModel's does.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name not in cls.model_fields:
                known = [known for known, field in cls.model_fields.items() if not field.deprecated]
                near = get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                about = {"name": name, "says": f"is unknown.{hint} Known: {', '.join(known)}."}
                raise PydanticCustomError("unknown", "{says}", about)
        return values


def parsed(kind: type[M], values: Any, *, key: str = "") -> M:
    """Settings from plain values, as YAML or JSON has them.

    Args:
        kind: their model.
        values: name -> value.
        key: dotted key above them, for messages.

    Raises:
        ParamsError: a value can't be; the message begins with its dotted key, and names the keys of all others.

    Example:
        >>> parsed(EmbedParams, {"threads": True}, key="embed")    # doctest: +SKIP
        ParamsError: embed.threads is True; a whole number is expected.
    """
    check_plain(values, key)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise refused(error, values, key=key) from None


def refused(error: ValidationError, values: Any, *, key: str = "") -> ParamsError:
    """What pydantic found, as one line: the first problem, and the keys of the others."""
    found: dict[str, list[Any]] = {}
    for one in error.errors(include_url=False):
        found.setdefault(_dotted(_path(one, values), key), []).append(one)
    (first, problems), *rest = found.items()
    message, at = _sentence(first, problems)
    if problems[0]["loc"][-1:] == ("[key]",):
        at = _dotted([str(problems[0]["input"])], at)
    others = [name for name, _ in rest if not first.startswith(name)]  # a union tells of each of its members
    if others:
        message += f" Also wrong: {', '.join(others[:5])}{' and others' if others[5:] else ''}."
    return ParamsError(message, key=re.sub(r"\[[0-9]+\]", "", at))


def _path(error: Any, values: Any) -> list[str | int]:
    """Where a value is: pydantic's location, without the names of a union's members."""
    path: list[str | int] = []
    for step in error["loc"]:
        is_item = isinstance(values, list | tuple) and isinstance(step, int) and step < len(values)
        if is_item or (isinstance(values, Mapping) and step in values):
            values = values[step]
        elif error["type"] != "missing" or step != error["loc"][-1]:
            continue
        path.append(step)
    return path[:-1] if error["loc"][-1:] == ("[key]",) else path


def _dotted(path: Iterable[str | int], key: str) -> str:
    for step in path:
        key = f"{key}[{step}]" if isinstance(step, int) else f"{key}.{step}" if key else str(step)
    return key


_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "is": "a list",
    "sequence": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "none": "null",
}
"""First word of pydantic's types of error -> what is expected."""
_BOUNDS = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}


def _sentence(key: str, problems: list[Any]) -> tuple[str, str]:
    """What is wrong at a key, and the key that it is about."""
    one = problems[0]
    kind, about, is_ = one["type"], one.get("ctx", {}), f"{key or 'this'} is {shown(one['input'])}"
    if kind == "unknown":
        key = _dotted([str(about["name"])], key)
        return f"{key} {about['says']}", key
    if kind == "missing":
        return f"{key} is missing.", key
    if kind == "value_error" and isinstance(inner := about["error"], ParamsError):  # of a model as a whole
        if key and not inner.key.startswith(key):
            return f"{key}.{inner}", _dotted([inner.key] if inner.key else [], key)
        return str(inner), inner.key
    if kind == "value_error":
        return f"{where(key)}{shown(one['input'])} {about['error']}.", key
    if kind == "literal_error":
        return f"{is_}; it must be {about['expected'].replace(chr(39), '')}.", key
    if kind in _BOUNDS:
        return f"{is_}; it must {limit({_BOUNDS[kind]: about[_BOUNDS[kind]]})}.", key
    if kind in ("too_long", "too_short"):
        least, n = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        n_items = about["actual_length"] or len(one["input"])
        return f"{is_}; it must have {least} {about[n]:,} items, not {n_items:,}.", key
    expected = [_KINDS[word] for one in problems if (word := one["type"].split("_")[0]) in _KINDS]
    if not expected:
        return f"{is_}; {one['msg'][:1].lower()}{one['msg'][1:]}.", key  # such as a pattern
    hint = " Put it in quotes." if expected == ["a text"] and isinstance(one["input"], int | float) else ""
    return f"{is_}; {' or '.join(dict.fromkeys(expected))} is expected.{hint}", key


def limit(bounds: Mapping[str, float]) -> str:
    """A range in words that follow `it must`; empty where there is none.

    Example:
        >>> limit({"ge": 0, "lt": 1})
        'not be negative, and be below 1'
    """
    said = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    numbers = {name: int(bound) if bound == int(bound) else bound for name, bound in bounds.items()}
    words = [f"{word} {numbers[name]:,}" for name, word in said.items() if name in numbers]
    if bounds.get("ge") == 0:
        return ", and be ".join(["not be negative", *words[1:]])
    return f"be {' and '.join(words)}" if words else ""


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def check_plain(values: Any, key: str = "") -> None:
    """Refuse what can't be a setting, whatever it is for.

    Raises:
        ParamsError: a key that isn't text, a number that isn't finite or doesn't fit 64 bits, text that no file or
            program takes; `key` says where.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            if not isinstance(name, str):
                raise ParamsError(f"{where(key)}the key {shown(name)} must be text: put it in quotes.", key=key)
            below = f"{key}.{name}" if key else name
            _check_text(name, below)
            check_plain(value, below)
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            check_plain(value, f"{key}[{number}]")
    elif isinstance(values, float):
        if not abs(values) < float("inf"):
            raise ParamsError(f"{key} is {values}; a finite number is expected.", key=key)
    elif isinstance(values, int):
        if not _INTEGERS[0] <= values <= _INTEGERS[1]:
            raise ParamsError(f"{key} is {shown(values)}; whole numbers are from -2^63 to 2^63 - 1.", key=key)
    elif isinstance(values, str):
        _check_text(values, key)


def _check_text(text: str, key: str) -> None:
    if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise ParamsError(f"{key} is or has {shown(text)}, with a character that isn't text.", key=key)


def where(key: str) -> str:
    """What a message begins with that is about a key."""
    return f"{key}: " if key else ""


def options_of(owner: Any, *, skip: frozenset[str] = frozenset(), base: type[Settings] = Settings) -> type[Settings]:
    """The keyword arguments of a class or function as settings: their types, the constraints in them, their defaults.

    Args:
        owner: a dataclass, or anything with a signature.
        skip: arguments that are no settings.
        base: settings that it has besides.

    Example:
        >>> def draw(*, seed: Seed = 0) -> None: ...
        >>> parsed(options_of(draw), {"seed": -1})
        Traceback (most recent call last):
        ...
        reelstore.errors.ParamsError: seed is -1; it must not be negative.
    """
    kinds: dict[str, Any] = {}
    if is_dataclass(owner):
        hints = get_type_hints(owner, include_extras=True)
        for one in fields(owner):
            default = one.default_factory() if one.default_factory is not MISSING else one.default
            kinds[one.name] = (hints[one.name], ... if default is MISSING else default)
    else:
        for name, parameter in signature(owner, eval_str=True).parameters.items():
            annotation = Any if parameter.annotation is Parameter.empty else parameter.annotation
            if get_origin(annotation) is tuple:  # of a plug-in; YAML and JSON have lists alone
                annotation = Annotated[annotation, Strict(False)]
            kinds[name] = (annotation, ... if parameter.default is Parameter.empty else parameter.default)
    kept = {name: kind for name, kind in kinds.items() if name not in skip}
    return create_model(f"{getattr(owner, '__name__', 'Its')}Options", __base__=base, **kept)


def plain(value: Any) -> Any:
    """A value as YAML would have given it; callers from Python have tuples, ranges, paths, arrays and tensors too."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's and torch's arrays and numbers
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def name_problem(name: str) -> str | None:
    """Why this can't name a folder and a DVC stage; None where it can."""
    if _NAME.fullmatch(name):
        return None
    return "must be letters, digits, - and _, the first a letter or digit, 100 at most (it names folders and stages)"


def store_name_problem(name: str) -> str | None:
    """Why this can't name a dataset or an encoder, folders of a store; None where it can."""
    if problem := name_problem(name):
        return problem
    return f"{fault}. Choose another name" if (fault := reserved_fault(name)) else None


def variant_path_problem(path: str) -> str | None:
    """Why this isn't `<side>/<encoder>/<variant>`; None where it is."""
    side, *names = path.split("/")
    if side in ("video", "text") and len(names) == 2 and all(_PART.fullmatch(name) for name in names):
        return None
    return "must be <side>/<encoder>/<variant>, as text/minilm-l6/mean"


def device_problem(device: str) -> str | None:
    """Why this names no device that encoders run on; None where it does."""
    return None if _DEVICE.fullmatch(device) else "must be auto, cpu, cuda or, of several GPUs, cuda:1"


def refusing(problem: Callable[[Any], str | None]) -> AfterValidator:
    """A constraint for `Annotated`: refuses a value of which `problem` says what is wrong, in words that follow it."""

    def check(value: T) -> T:
        if says := problem(value):
            raise ValueError(says)
        return value

    return AfterValidator(check)


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Share = Annotated[float, Field(ge=0, le=1)]
StoredDtype = Literal["float16", "float32"]
Name = Annotated[str, refusing(name_problem)]
StoreName = Annotated[str, refusing(store_name_problem)]
VariantPath = Annotated[str, refusing(variant_path_problem)]
Device = Annotated[str, refusing(device_problem)]
Listed = Annotated[tuple[T, ...], Field(strict=False, max_length=MAX_ITEMS)]
"""A list in YAML, a tuple in Python."""
