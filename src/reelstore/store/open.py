"""A store's folder -> its variants; a variant's folder -> its rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from reelstore.errors import StoreNotFoundError
from reelstore.store.groups import is_variant_folder, variant_folders
from reelstore.store.read import Rows
from reelstore.store.variant import Variant


def open_store(path: str | Path) -> "Store":
    """The variants of one dataset's store, read only.

    Raises:
        StoreNotFoundError: there is no such folder.

    Example:
        >>> store = open_store("store/emoji")                          # doctest: +SKIP
        >>> store["video/efficientnet-lite0/mean"]["1f600"].shape      # doctest: +SKIP
        (1280,)
    """
    path = Path(path)
    if not path.is_dir():
        raise StoreNotFoundError(f"No store at {path}. Make it with dvc repro, or fetch it with dvc pull.")
    return Store(path)


def open_variant(folder: Path) -> Rows:
    """One variant by its folder."""
    return Rows(Variant(folder), None)


class Store(Mapping[str, Rows]):
    """`side/encoder/variant` -> rows; in a folder of several datasets, `dataset/side/encoder/variant`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> Rows:
        parts = name.split("/")
        folder = self.path.joinpath(*parts)
        if "" in parts or ".." in parts or not is_variant_folder(folder):
            known = ", ".join(self) or "none"
            raise StoreNotFoundError(
                f"No variant {name!r} in {self.path}. It has: {known}. "
                "Make it with dvc repro, or fetch it with dvc pull."
            )
        return open_variant(folder)

    def __iter__(self) -> Iterator[str]:
        for folder in variant_folders(self.path):
            yield folder.relative_to(self.path).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self)} variants)"
