"""Aligners by kind, imported when they're made; saving and loading without pickle."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import create_model

from reelstore.align.base import Aligner, check_layout
from reelstore.align.items import Items
from reelstore.align.mapping import mapped
from reelstore.arrays import Float32Array
from reelstore.errors import AlignerError, DamagedFileError, ParamsError, UnknownNameError
from reelstore.io import read_json, refuse_irregular, replace_together
from reelstore.plain import typed
from reelstore.records import SIDES, Side
from reelstore.registry import Registry
from reelstore.settings import Settings, options_of, parsed, plain
from reelstore.store.memory import as_rows
from reelstore.store.read import Rows

_BUILT_IN = {
    "unaligned": "reelstore.align.unaligned:Unaligned",
    "procrustes": "reelstore.align.closed_form.procrustes:Procrustes",
    "ridge": "reelstore.align.closed_form.ridge:Ridge",
    "cca": "reelstore.align.closed_form.cca:Cca",
    "kernel-ridge": "reelstore.align.closed_form.kernel_ridge:KernelRidge",
    "asif": "reelstore.align.closed_form.asif:Asif",
    "ensemble": "reelstore.align.ensemble:Ensemble",
    "mlp": "reelstore.align.trained.mlp:Mlp",
    "cca-infonce": "reelstore.align.trained.cca_infonce:CcaInfonce",
    "transformer": "reelstore.align.trained.transformer:Transformer",
    "attention-pool": "reelstore.align.trained.attention_pool:AttentionPool",
}
ALIGNERS = Registry("aligner", "aligners", _BUILT_IN, extra="train")
"""Kind -> class of an aligner; others come through entry points of the group `reelstore.aligners`."""
_TRAINED = {
    "mlp": "MlpSettings",
    "cca-infonce": "CcaInfonceSettings",
    "transformer": "TransformerSettings",
    "attention-pool": "AttentionPoolSettings",
}
"""Kind -> its settings in `align.trained.settings`, which needs no torch."""
VERSION = 2
MODEL_BYTES = 2**34
"""Of an aligner's tensors at most; they are read whole."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_AGAIN = "Fit it again (in a project: dvc repro align), or fetch it with dvc pull."


@dataclass(frozen=True)
class FittedAligner:
    """An aligner with what it was fitted on.

    Attributes:
        aligner: the map itself.
        kind: its registry name.
        settings: all of its settings, defaults among them: a file outlives a changed default.
        pooling: side -> variant it was fitted on.
        data: side -> digest and fingerprint of that variant; none of a side that wasn't a store's rows.
        history: what was tried or trained, with `validation_MRR`, in order; not saved.
    """

    aligner: Aligner
    kind: str
    settings: Mapping[str, object]
    pooling: Mapping[str, str]
    data: Mapping[str, Mapping[str, str]]
    history: tuple[Mapping[str, float], ...] = ()

    def __repr__(self) -> str:
        widths = " and ".join(f"{side} {self.aligner.width_of(side)}" for side in SIDES)
        return f"FittedAligner({self.kind}, of {widths} wide)"

    def transform(self, *, text: Any = None, video: Any = None) -> Float32Array:
        """Embeddings of one side in the joint space.

        Args:
            text: captions: an array or tensor (n, dim), tokens where the aligner takes these, or rows of a store.
            video: the same of videos; one of the two is given.

        Returns:
            (n, joint dim) float32, length 1; equal rows give equal numbers.

        Raises:
            AlignerError: both or none are given, or they are another encoder's than it was fitted on.
            EmbeddingsError: they are no embeddings.

        Example:
            >>> aligner.transform(video=video) @ aligner.transform(text=text).T    # doctest: +SKIP
        """
        if (text is None) == (video is None):
            raise AlignerError("transform takes either text= or video=.")
        side: Side = "text" if video is None else "video"
        rows = as_rows(text if video is None else video, side=side)
        if not rows.in_memory and side in self.data:
            self.check_rows(side, rows)
        check_layout(rows, self.aligner.layouts, self.kind)
        return mapped(self.aligner.transform_text if side == "text" else self.aligner.transform_video, rows)

    def transform_video(self, video: Items) -> Float32Array:
        """n videos -> (n, joint dim) float32, length 1."""
        return self.aligner.transform_video(video)

    def transform_text(self, text: Items) -> Float32Array:
        """n captions -> (n, joint dim) float32, length 1."""
        return self.aligner.transform_text(text)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over kind, settings and tensors: all that its numbers depend on, and nothing of the data."""
        from safetensors.numpy import save

        about = json.dumps({"version": VERSION, "kind": self.kind, "settings": self.settings}, sort_keys=True)
        return sha256(about.encode() + b"\n" + save(self._tensors())).hexdigest()

    def check_fingerprint(self, side: str, fingerprint: str) -> None:
        """Refuse embeddings made otherwise than those it was fitted on: equal widths prove nothing."""
        fitted_on = self.data.get(side, {}).get("fingerprint")
        if fitted_on is None:
            raise AlignerError(f"This aligner doesn't record which {side} embeddings it was fitted on. {_AGAIN}")
        if fitted_on != fingerprint:
            raise AlignerError(
                f"This aligner was fitted on {side} embeddings of fingerprint {fitted_on[:12]}, these have "
                f"{fingerprint[:12]}: another encoder, sampling or dtype. {_AGAIN}"
            )

    def check_rows(self, side: str, rows: Rows) -> None:
        """Refuse embeddings made otherwise than those it was fitted on, or of another width.

        Raises:
            AlignerError: they are another encoder's, or the aligner's files are.
        """
        self.check_fingerprint(side, rows.fingerprint)
        width = self.aligner.width_of(side)
        if rows.dim != width:
            raise AlignerError(
                f"This aligner takes {side} embeddings {width} wide; those of {rows.folder} are {rows.dim}. "
                f"Its tensors aren't of the embeddings it names. {_AGAIN}"
            )

    def save(self, folder: str | Path) -> None:
        """Write `files` into a folder; no two aligners' files are ever side by side."""
        folder = Path(folder)
        replace_together({folder / name: content for name, content in self.files().items()})

    def files(self) -> dict[str, bytes]:
        """aligner.safetensors and aligner.json, without which the first doesn't count; the same aligner gives the same
        bytes.
        """
        from safetensors.numpy import save

        about = {"version": VERSION, "kind": self.kind, "settings": self.settings, "data": self.data}
        about |= {"pooling": dict(self.pooling), "digest": self.digest}
        described = json.dumps(about, indent=1, sort_keys=True) + "\n"
        return {"aligner.safetensors": save(self._tensors()), "aligner.json": described.encode()}

    def _tensors(self) -> dict[str, Float32Array]:
        return {name: np.ascontiguousarray(tensor) for name, tensor in sorted(self.aligner.tensors().items())}


def make_aligner(settings: Mapping[str, Any], *, name: str = "") -> tuple[Aligner, dict[str, str]]:
    """An aligner to be fitted, and the variant it wants of each side.

    `video` and `text` name it; without, it is `mean`, or `tokens` for an aligner that takes nothing else.

    Args:
        settings: `kind`, and the aligner's own.
        name: its name in params.yaml, for messages.

    Raises:
        UnknownNameError: there is no such kind.
        ParamsError: a setting isn't the aligner's, or is out of range.
    """
    kind = str(settings["kind"])
    where = f"aligners.{name}" if name else kind
    kinds = _settings_of(kind)
    parsed(kinds, plain(settings), key=where)
    own = {setting: value for setting, value in settings.items() if setting not in _Common.model_fields}
    try:
        aligner: Aligner = ALIGNERS.load(kind)(**own)
    except ParamsError as error:
        says = str(error).removeprefix(f"{kind}: ").removeprefix(f"{kind}.")
        raise ParamsError(f"{where}{'.' if name else ': '}{says}", key=where) from error
    return aligner, {side: str(settings.get(side, kinds.model_fields[side].default)) for side in SIDES}


def all_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings given, and the defaults of those that weren't."""
    fields = _settings_of(settings["kind"]).model_fields
    defaults = {name: field.default for name, field in fields.items() if name != "kind"}
    return {name: plain(value) if isinstance(value, tuple) else value for name, value in defaults.items()} | {
        **settings
    }


def load_aligner(folder: str | Path) -> FittedAligner:
    """An aligner as `FittedAligner.save` left it; nothing of it is executed.

    Raises:
        AlignerError: there is none, a value or tensor isn't what its kind and settings need, or the files were changed.
    """
    folder = Path(folder)
    try:
        about = _about(folder / "aligner.json")
        tensors = _tensors_of(folder / "aligner.safetensors")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AlignerError(f"No aligner at {folder}. {_AGAIN}") from error
    except DamagedFileError as error:
        raise AlignerError(f"The aligner at {folder} can't be read: {error} {_AGAIN}") from error
    try:
        aligner, _ = make_aligner({**about.settings, "kind": about.kind})
        aligner.restore(tensors)
    except (ParamsError, UnknownNameError, AlignerError) as error:
        raise AlignerError(
            f"{folder}: the tensors aren't those of a {about.kind} aligner with its settings: "
            f"{str(error)[:300].removesuffix('.')}. {_AGAIN}"
        ) from error
    fitted = FittedAligner(aligner, about.kind, about.settings, about.pooling, about.data)
    if about.digest and about.digest != fitted.digest:
        raise AlignerError(
            f"{folder}: aligner.json is about tensors and settings of digest {about.digest[:12]}, these have "
            f"{fitted.digest[:12]}: something was changed, or the files are of two aligners. {_AGAIN}"
        )
    if set(about.pooling) != {"video", "text"} or not all(map(_NAME.fullmatch, about.pooling.values())):
        raise AlignerError(f"{folder}/aligner.json: pooling must name a variant of video and of text. {_AGAIN}")
    return fitted


@dataclass(frozen=True)
class _About:
    """What aligner.json holds; without a digest where an earlier reelstore wrote it."""

    version: int
    kind: str
    settings: Mapping[str, Any]
    pooling: Mapping[str, str]
    data: Mapping[str, Mapping[str, str]]
    digest: str = ""


def _about(path: Path) -> _About:
    raw = read_json(path)
    version = raw.get("version") if isinstance(raw, dict) else VERSION
    if version != VERSION:
        raise AlignerError(f"{path.parent}: aligner version {version!r:.20}, this code reads {VERSION}. {_AGAIN}")
    about: _About = typed(raw, _About, path)
    if about.kind not in ALIGNERS:
        raise DamagedFileError(f"{path}: kind is {about.kind!r:.60}. Known: {', '.join(ALIGNERS)}.")
    if about.settings.get("kind", about.kind) != about.kind:
        raise DamagedFileError(f"{path}: kind is {about.kind!r:.60}, that of settings {about.settings['kind']!r:.60}.")
    return about


def _tensors_of(path: Path) -> dict[str, Float32Array]:
    from safetensors import SafetensorError, safe_open

    refuse_irregular(path)
    n_bytes = path.stat().st_size
    if n_bytes > MODEL_BYTES:
        raise DamagedFileError(f"{path} has {n_bytes} bytes; at most {MODEL_BYTES} are expected.")
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  # it isn't a mapping
                if (dtype := file.get_slice(name).get_dtype()) != "F32":
                    raise DamagedFileError(f"{path}: {name!r:.60} is {dtype}; F32 is expected.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(f"{path}: {str(error)[:120]}.") from error


class _Common(Settings):
    """What every aligner has."""

    kind: str
    video: str = "mean"
    text: str = "mean"
    pairs: str = "captions"


@cache
def _settings_of(kind: str) -> type[Settings]:
    """The settings of an aligner: its own, and what every aligner has. Of trained ones, torch isn't imported."""
    owner: Any
    if kind in _TRAINED:
        owner = getattr(import_module("reelstore.align.trained.settings"), _TRAINED[kind])
    else:
        owner = ALIGNERS.load(kind)
    settings = options_of(owner, base=_Common)
    if "pooled" in owner.layouts:
        return settings
    return create_model(settings.__name__, __base__=settings, video=(str, "tokens"), text=(str, "tokens"))
