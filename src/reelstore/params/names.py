"""Names in params.yaml, which become folders and DVC stages."""

import re

from reelstore.errors import ParamsError
from reelstore.params.plain import shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def check_variant(key: str, variant: str) -> None:
    """Refuse what isn't `<side>/<encoder>/<variant>`; `key` says where it stands."""
    side, *names = variant.split("/")
    if side not in ("video", "text") or len(names) != 2 or not all(_PART.fullmatch(name) for name in names):
        raise ParamsError(
            f"{key} is {shown(variant)}; it must be <side>/<encoder>/<variant>, as text/minilm-l6/mean.", key=key
        )


def check_name(key: str, name: str) -> None:
    """Refuse what can't name a folder and a DVC stage; `key` says where it stands."""
    if not _NAME.fullmatch(name):
        raise ParamsError(
            f"{key}: {shown(name)} must be letters, digits, - and _, the first a letter or digit, 100 at most "
            "(it names folders and DVC stages).",
            key=key,
        )


def check_store_name(key: str, name: str) -> None:
    """Refuse what can't name a dataset or an encoder, folders of a store; `key` says where it stands."""
    from reelstore.records import reserved_fault  # imports NumPy, which --help doesn't need

    check_name(key, name)
    if (fault := reserved_fault(name)) is not None:
        raise ParamsError(f"{key}: {shown(name)} {fault}. Choose another name.", key=key)


def check_device(key: str, device: str) -> None:
    """Refuse what names no device that encoders run on; `key` says where it stands."""
    if not _DEVICE.fullmatch(device):
        raise ParamsError(f"{key} is {shown(device)}; it must be auto, cpu, cuda or, of several GPUs, cuda:1.", key=key)


def split_model(model: str) -> tuple[str, str]:
    """`<video encoder>+<text encoder>` -> both."""
    video, plus, text = model.partition("+")
    if not plus or not video or not text or "+" in text:
        raise ParamsError(
            f"A model is <video encoder>+<text encoder>, as efficientnet-lite0+minilm-l6; not {shown(model)}."
        )
    return video, text
