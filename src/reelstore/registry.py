"""Names -> what they stand for: what is built in, and what installed packages add through entry points."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reelstore.errors import PluginError, ReelstoreWarning, UnknownNameError
from reelstore.extras import EXTRA_OF, needed


class Registry(Mapping[str, str]):
    """Name -> `module:attribute`, in the order built in, plug-ins after them.

    A package adds a name with an entry point of the group `reelstore.<group>`: in its pyproject.toml,
    `[project.entry-points."reelstore.aligners"]` and `mine = "my_package.mine:Mine"`. Plug-ins are looked for when a
    name isn't built in, or when names are listed. A plug-in can't take a built-in name.

    Args:
        what: what a name stands for, for messages: `aligner`.
        group: `datasets`, `encoders`, `aligners` or `rerankers`.
        builtin: the names that reelstore has.
        extra: that brings the packages these need.
        extras: name -> another extra, which brings all that this one needs.
    """

    def __init__(
        self, what: str, group: str, builtin: Mapping[str, str], *, extra: str, extras: Mapping[str, str] | None = None
    ) -> None:
        self._what, self._group, self._builtin, self._extra = what, group, builtin, extra
        self._extras = extras or {}

    def __getitem__(self, name: str) -> str:
        if name in self._builtin:
            return self._builtin[name]
        return self._plugins[name].value

    def __iter__(self) -> Iterator[str]:
        yield from self._builtin
        yield from self._plugins

    def __len__(self) -> int:
        return len(self._builtin) + len(self._plugins)

    def load(self, name: str) -> Any:
        """What a name stands for, imported.

        Raises:
            UnknownNameError: there is none of this name.
            MissingExtraError: it needs a package that isn't installed.
            PluginError: it is a plug-in that can't be imported.
        """
        if name not in self:
            raise UnknownNameError(self._what, name, self)
        with self.packages(name):
            if name in self._builtin:
                module, _, attribute = self._builtin[name].partition(":")
                return getattr(import_module(module), attribute)
            return self._plugin(name)

    def packages(self, name: str) -> AbstractContextManager[None]:
        """As `needed`, for what this name needs: inside, its network is loaded or its files are read."""
        return needed(f"{self._what} {name}", extra=self._extras.get(name, self._extra))

    def _plugin(self, name: str) -> Any:
        point = self._plugins[name]
        try:
            return point.load()
        except Exception as error:  # another's code may raise anything while it is imported
            if isinstance(error, ModuleNotFoundError) and error.name in EXTRA_OF:
                raise
            why = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
            raise PluginError(
                f"{self._what} {name} is a plug-in of {_package(point)} that can't be imported: {why}."
            ) from error

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=f"reelstore.{self._group}"), key=lambda one: (one.name, one.value)):
            other = found.get(point.name)
            if point.name in self._builtin or (other is not None and other.value != point.value):
                has = "reelstore" if other is None else _package(other)
                warnings.warn(
                    f"{_package(point)} brings the {self._what} {point.name!r}, a name that {has} has: it is ignored.",
                    ReelstoreWarning,
                    stacklevel=2,
                )
                continue
            found[point.name] = point
        return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an installed package"
