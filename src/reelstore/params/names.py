"""Names in params.yaml, which become folders and DVC stages."""

import re

from reelstore.errors import ParamsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_variant(key: str, variant: str) -> None:
    """Refuse what isn't `<side>/<encoder>/<variant>`; `key` says where it stands."""
    side, *names = variant.split("/")
    if side not in ("video", "text") or len(names) != 2 or not all(re.fullmatch(r"[A-Za-z0-9_.-]+", n) for n in names):
        raise ParamsError(f"{key} is {variant!r}; it must be <side>/<encoder>/<variant>, as text/minilm-l6/mean.")


def check_name(key: str, name: str) -> None:
    """Refuse what can't name a folder and a DVC stage; `key` says where it stands."""
    if not _NAME.fullmatch(name):
        raise ParamsError(f"{key}: {name!r} must be letters, digits, - and _ (it names folders and DVC stages).")


def split_model(model: str) -> tuple[str, str]:
    """`<video encoder>+<text encoder>` -> both."""
    video, plus, text = model.partition("+")
    if not plus or not video or not text or "+" in text:
        raise ParamsError(f"A model is <video encoder>+<text encoder>, as efficientnet-lite0+minilm-l6; not {model!r}.")
    return video, text
