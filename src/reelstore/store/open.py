"""A store's folder -> its variants; a variant's folder -> its rows."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from reelstore.errors import NotBuiltError, OccupiedError, StoreError, StoreNotFoundError, UnknownVariantError
from reelstore.io import is_folder
from reelstore.records import SIDES, Side
from reelstore.store.commit import deletion_interrupted
from reelstore.store.content import Mode, write_rows
from reelstore.store.files import unrecognised_in
from reelstore.store.groups import is_variant_folder, variant_folders
from reelstore.store.keys import Key
from reelstore.store.pairs import PairedVariants, paired
from reelstore.store.read import Rows
from reelstore.store.rename import rename_variant
from reelstore.store.update import UpdateReport, delete_variant
from reelstore.store.variant import Variant

_SHOWN = 40
"""Variants that a table or a message shows at most."""
_LONGEST = 255
"""Bytes of a folder's name."""
_EXTRAS = {"gs": "gs", "gcs": "gs", "ssh": "ssh", "sftp": "ssh"}
"""A URL's scheme -> the extra that will bring it."""


def open_store(
    path: str | Path,
    *,
    create: bool = False,
    rev: str | None = None,
    repo: str | None = None,
    remote: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> "Store":
    """The variants of a store.

    Args:
        path: folder of one dataset's store, or of several (then names have the dataset in front). The folder of one
            variant gives its `Rows`: in code with types, call `open_variant` for these.
        create: begin an empty store where the folder isn't there; nothing is made on disk before the first write.
        rev, repo, remote, storage_options: of a store elsewhere; not built yet.

    Raises:
        StoreNotFoundError: there is no such folder, and `create` is false.
        OccupiedError: the path is a file.
        NotBuiltError: a URL or a git revision was asked for.

    Example:
        >>> store = open_store("store/emoji")                          # doctest: +SKIP
        >>> store["video/efficientnet-lite0/mean"]["1f600"].shape      # doctest: +SKIP
        (1280,)
    """
    _refuse_elsewhere(str(path), rev=rev, repo=repo, remote=remote, storage_options=storage_options)
    path = Path(path)
    if path.is_dir():
        if is_variant_folder(path):
            return open_variant(path)  # type: ignore[return-value]  # the docstring says so
        return Store(path)
    if path.exists() or path.is_symlink():
        raise OccupiedError(f"{path} isn't a folder; a store is one.")
    if not create:
        raise StoreNotFoundError(
            f"No store at {path}. To begin one, open it with create=True. In a project: dvc repro, or dvc pull."
        )
    return Store(path)


def open_variant(folder: str | Path) -> Rows:
    """One variant by its folder: <store>/<side>/<encoder>/<variant>.

    Raises:
        StoreNotFoundError: no variant is there.
        SchemaError: what is there is damaged, or of a newer schema.
    """
    return Rows(Variant(Path(folder)), None)


class Store(Mapping[str, Rows]):
    """`side/encoder/variant` -> rows; in a folder of several datasets, `dataset/side/encoder/variant`.

    A mapping: `store[name]`, `name in store`, `store.get(name)`, `len`, iteration over names. `write`, `delete` and
    `rename` change one variant at a time; a reader sees the old version or the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> Rows:
        if name not in self:
            raise UnknownVariantError(self._unknown(name))
        return open_variant(self.path / name)

    def __contains__(self, name: object) -> bool:
        folder = self._folder(name) if isinstance(name, str) else None
        return folder is not None and is_variant_folder(folder)

    def __iter__(self) -> Iterator[str]:
        for folder in variant_folders(self.path) if self.path.is_dir() else ():
            yield folder.relative_to(self.path).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        names = list(self)
        datasets = _datasets(names)
        if not datasets:
            return f"Store({str(self.path)!r}, {len(names)} variants)"
        listed = ", ".join(datasets[:_SHOWN]) + (", ..." if len(datasets) > _SHOWN else "")
        one = str(self.path / datasets[0])
        return (
            f"Store({str(self.path)!r}, {len(names)} variants of {len(datasets)} datasets: {listed}. One of them: "
            f"reelstore.open({one!r}))"
        )

    def _repr_html_(self) -> str:
        """A table of the variants, for notebooks."""
        names, lines = list(self), []
        for name in names[:_SHOWN]:
            try:
                rows = self[name]
                cells = [f"{len(rows):,}", rows.layout, str(rows.dim), str(rows.dtype), rows.digest[:12]]
                columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            except (StoreError, OSError) as error:  # show the others nevertheless
                columns = f"<td colspan=5>{escape(str(error)[:200])}</td>"
            lines.append(f"<tr><td>{escape(name)}</td>{columns}</tr>")
        more = f"<p>and {len(names) - _SHOWN} more</p>" if len(names) > _SHOWN else ""
        head = "".join(f"<th>{cell}</th>" for cell in ("variant", "rows", "layout", "dim", "dtype", "digest"))
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{''.join(lines)}</table>{more}"

    def _ipython_key_completions_(self) -> list[str]:
        return list(islice(self, 1000))

    def pairs(self, video: str, text: str, *, split: str | None = None) -> PairedVariants:
        """Videos and their captions, of two variants, without rows that failed.

        Args:
            video: name of a variant of videos: `video/clip/mean`.
            text: name of a variant of captions.
            split: of these videos alone, by the split of their rows; all by default.

        Raises:
            UnknownVariantError: the store has no such variant.
            StoreError: a side is the other one, or no caption has its video.

        Example:
            >>> pairs = store.pairs("video/clip/mean", "text/clip/mean", split="train")    # doctest: +SKIP
            >>> pairs.video, pairs.text, pairs.video_of_caption                            # doctest: +SKIP
        """
        return paired(self[video], self[text], split=split)

    def write(
        self,
        variant: str,
        keys: Iterable[Key],
        values: Any,
        *,
        splits: str | Sequence[str] | Mapping[Key, str] | None = None,
        dtype: str | None = None,
        source: str | Mapping[str, Any] | None = None,
        mode: Mode = "update",
    ) -> UpdateReport:
        """Write rows of one variant by key. Rows are compared by content; what is the same isn't written again.

        All or nothing: after an error or a kill, the variant is as it was before or as it is after a complete write.

        Args:
            variant: `video/ENCODER/VARIANT` or `text/ENCODER/VARIANT`; with the dataset in front in a root of several.
            keys: n of them, each once: a video's `video_id`, a caption's (`video_id`, `caption_index`). Where there are
                millions, an Arrow array takes least memory: of text, or of structs with these two fields.
            values: embeddings (n, dim), or tokens: (n, n_tokens, dim), or a list of n arrays (n_tokens_i, dim). Arrays,
                tensors of any device, memory-mapped files, lists of arrays; or a generator of batches of these, which
                is read once and needs the memory of one batch.
            splits: one name for all, one for each key, or a mapping key -> name. By default a stored row keeps its
                split and a new one is in `all`.
            dtype: `float16` or `float32`, to round to; by default that of the values, which must be one of these
                (bfloat16 becomes float32).
            source: where the values come from: kept in the recipe, and one for the whole variant.
            mode: `update` adds rows and changes those that are stored, others stay; `append` refuses keys that are
                stored; `replace` removes all other rows.

        Returns:
            how many rows there are now, how many are new or changed, bytes written, and the digest.

        Raises:
            StoreError: keys and values don't fit, a key occurs twice, another width, dtype or layout than the stored, a
                variant of another origin (by `embed`) without mode="replace", another process writes, a full disk.
            ValueRangeError: a row holds NaN, infinity, or what the dtype can't; the message names it.
            SchemaError: what is stored is damaged, or of a newer schema; or a name isn't allowed.
            OccupiedError: files are in the folder that reelstore didn't write.

        Example:
            >>> store.write("video/clip/mean", ["7010", "7011"], np.ones((2, 512), "float32"))     # doctest: +SKIP
        """
        folder, side = self._place(variant)
        return write_rows(
            folder,
            side=side,
            encoder=folder.parent.name,
            variant=folder.name,
            keys=keys,
            values=values,
            splits=splits,
            dtype=dtype,
            source=source,
            mode=mode,
        )

    def delete(self, variant: str) -> None:
        """Remove one variant: the files that its manifest lists, and the groups above that are empty then.

        Raises:
            UnknownVariantError: there is none of this name.
            OccupiedError: files that reelstore didn't write are in its folder. The variant is removed; they stay, and
                the message names the first.
        """
        folder, _ = self._place(variant)
        if variant not in self and not deletion_interrupted(folder):
            raise UnknownVariantError(self._unknown(variant))
        delete_variant(folder)
        if is_folder(folder) and (other := unrecognised_in(folder)) is not None:
            raise OccupiedError(f"{other} isn't reelstore's and stays; the variant {variant} is removed.")

    def rename(self, variant: str, new: str) -> None:
        """Give a variant another name, of the same side. Its arrays stay byte for byte; no second copy is made.

        A reader finds it under one of the names at any instant. After a kill, the same call finishes it.

        Raises:
            UnknownVariantError: there is no `variant`.
            StoreError: `new` is of the other side, or there already; or files of `variant` are missing.
        """
        (folder, side), (new_folder, new_side) = self._place(variant), self._place(new)
        if variant not in self and not (new in self and deletion_interrupted(folder)):
            raise UnknownVariantError(self._unknown(variant))
        if side != new_side:
            raise StoreError(f"{variant} holds {side} rows; {new} would be {new_side}.")
        rename_variant(folder, new_folder)

    def _folder(self, name: str) -> Path | None:
        parts = name.split("/")
        if {"", ".", ".."} & {*parts} or {"\\", "\0"} & {*name}:
            return None
        if any(len(part.encode(errors="replace")) > _LONGEST for part in parts):
            return None
        return self.path.joinpath(*parts)

    def _place(self, name: str) -> tuple[Path, Side]:
        """Folder and side of a variant's name, be it there or not."""
        folder, parts = (self._folder(name), name.split("/")) if isinstance(name, str) else (None, [])
        if folder is None or len(parts) not in (3, 4) or parts[-3] not in SIDES:
            raise StoreError(
                f"{name!r} isn't a variant's name: it is video/ENCODER/VARIANT or text/ENCODER/VARIANT, such as "
                "video/clip/mean; in a root of several datasets with the dataset in front."
            )
        return folder, "video" if parts[-3] == "video" else "text"

    def _unknown(self, name: object) -> str:
        known = list(self)
        says = f"No variant {name!r:.200} in {self.path}."
        datasets = _datasets(known)
        if datasets and str(name).split("/")[0] in SIDES:
            having = [one for one in datasets if f"{one}/{name}" in self] or datasets
            roots = f"It is a root of datasets ({', '.join(datasets[:_SHOWN])})"
            return f"{says} {roots}: open {self.path / having[0]}, or say {having[0]}/{name}."
        below = [one for one in known if one.startswith(f"{str(name).rstrip('/')}/")]
        if below:
            return f"{says} Below this name are: {_listed(below)}."
        near = get_close_matches(str(name)[:200], known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"{says}{hint} It has: {_listed(known) or 'none'}."


def _datasets(names: Iterable[str]) -> list[str]:
    """In a root of several, the datasets in front of variants' names."""
    return sorted({name.split("/")[0] for name in names if name.count("/") == 3})


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _refuse_elsewhere(path: str, **options: object) -> None:
    asked = [name for name, value in options.items() if value is not None]
    found = re.match(r"([a-z][a-z0-9+.-]+)(::.*)?:/", path)  # a Path has lost a slash
    scheme = found[1] if found else ""
    if asked or scheme:
        what = f"{scheme}:// URLs" if scheme else ", ".join(f"{name}=" for name in asked)
        raise NotBuiltError(
            f"{path}: reading a store by {what} isn't built yet; it will come with the extra "
            f"{_EXTRAS.get(scheme, 's3') if scheme else 'project'}. Open a folder: dvc pull fetches one."
        )
