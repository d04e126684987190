"""Verify a store: files against digests, pooled rows against their tokens, rows against the dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelstore.datasets.index import read_index
from reelstore.errors import ReelstoreError, StoreError, StoreNotFoundError
from reelstore.io import Progress
from reelstore.layout import Layout
from reelstore.pooling import POOLINGS, pool
from reelstore.project.embed.plan import Rows as DatasetRows
from reelstore.store.files import read_manifest
from reelstore.store.format import OK, check_name
from reelstore.store.groups import variant_folders
from reelstore.store.open import open_variant
from reelstore.store.read import Rows
from reelstore.store.verify import Finding, check_between, check_groups, check_variant
from reelstore.store.write import row_fingerprints

POOLED_AGAIN = 256
"""Rows of a variant pooled again from their tokens, unless all are asked for."""
TOLERANCE = {"float16": 2e-3, "float32": 1e-5}
"""Relative, where another machine's processor adds in another order."""


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what was found."""

    folders: tuple[Path, ...]
    findings: tuple[Finding, ...]

    def summary(self) -> str:
        """A line for each finding, and one for all."""
        lines = [str(finding) for finding in self.findings]
        verdict = f"{len(self.findings)} findings" if self.findings else "nothing found"
        return "\n".join([*lines, f"{len(self.folders)} variants verified: {verdict}."])


def verify(path: Path, *, quick: bool = False, all_rows: bool = False, progress: Progress) -> VerifyReport:
    """Check every variant at or below a path.

    Args:
        path: a store, a part of it, or one variant.
        quick: names, sizes and tables only.
        all_rows: pool every row again rather than a sample.
        progress: called with variants done and to do.

    Raises:
        StoreNotFoundError: there is no variant.
    """
    folders = variant_folders(path) if path.is_dir() else []
    if not folders:
        raise StoreNotFoundError(
            f"{path} holds no embeddings. Write or import them; in a project: dvc repro, or dvc pull."
        )
    findings: dict[str, Finding] = {}
    for done, folder in enumerate(folders):
        progress(done, len(folders))
        of_this = [*check_groups(folder), *check_variant(folder, quick=quick)]
        if not of_this:
            of_this = list(_against_others(folder, 0 if quick else None if all_rows else POOLED_AGAIN))
        findings.update({str(finding): finding for finding in of_this})
    for root in _roots(path, folders):
        findings.update({str(finding): finding for finding in check_between(root, folders)})
    progress(len(folders), len(folders))
    return VerifyReport(tuple(folders), tuple(findings.values()))


def _roots(path: Path, folders: Sequence[Path]) -> list[Path]:
    """Where stores begin: the path itself if nothing but stores is in it, else the folder of each dataset."""
    if any(path in (folder, *folder.parents[:4]) for folder in folders):
        return [path]
    return sorted({folder.parents[2] for folder in folders})


def _against_others(folder: Path, n_pooled: int | None) -> Iterator[Finding]:
    rows = open_variant(folder)
    recipe = rows.spec.recipe
    if "pooling" in recipe:
        if _word(recipe, "pooling", "name") not in POOLINGS or _word(recipe, "tokens") is None:
            yield Finding(folder, "its recipe speaks of a pooling that there isn't")
        elif (tokens := _tokens_of(rows)) is not None:
            yield from _against_tokens(rows, tokens, n_pooled)
    elif "aligner" in recipe:
        if _word(recipe, "source", "variant") is None or _word(recipe, "source", "fingerprint") is None:
            yield Finding(folder, "its recipe doesn't say what it was mapped from")
        else:
            yield from _against_source(rows)
    elif "encoder" in recipe:
        yield from _against_dataset(rows)


def _word(recipe: Mapping[str, Any], *names: str) -> str | None:
    """A text in a recipe, which may come from anybody; None where there is none of the name."""
    value: Any = recipe
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _against_tokens(rows: Rows, tokens: Rows, n_rows: int | None) -> Iterator[Finding]:
    """The pooled rows whose tokens are kept: made from these, and by this pooling."""
    found = tokens.ids.find(rows.ids)
    here = np.flatnonzero(found >= 0)
    there = found[here]
    contents = [one.tobytes().hex() for one in tokens.table.fingerprints[there]]
    same = (row_fingerprints(rows.fingerprint, contents) == rows.table.fingerprints[here]).all(axis=1)
    for position in np.flatnonzero(~same)[:1]:
        key = rows.ids[int(here[position])]
        yield Finding(rows.folder, f"{int((~same).sum())} rows weren't made from the tokens kept, {key!r} first")
    picks = np.flatnonzero(same & (rows.status[here] == OK))
    if n_rows is not None and len(picks) > n_rows:
        picks = picks[np.linspace(0, len(picks) - 1, n_rows).astype(int)]
    name = str(rows.spec.recipe["pooling"]["name"])
    values = tokens.walk(there[picks])
    for pick, value in zip(picks, values, strict=True):
        row = int(here[pick])
        stored = rows.take([row])[0].astype(np.float32)
        wanted = pool(value, name).astype(rows.dtype).astype(np.float32)
        if np.abs(stored - wanted).max() > TOLERANCE[str(rows.dtype)] * max(1.0, float(np.abs(wanted).max())):
            yield Finding(rows.folder / "values", f"row {rows.ids[row]!r} isn't the {name} of its tokens")


def _against_source(rows: Rows) -> Iterator[Finding]:
    """The rows of an aligned variant: those it was mapped from, if they are kept and sound."""
    source = rows.spec.recipe["source"]
    folder = rows.folder.parents[2].joinpath(*source["variant"].split("/"))
    try:
        for name in source["variant"].split("/"):
            check_name(name, "the source's name")
        if any(True for _ in check_variant(folder, quick=True)):
            return
        embeddings = open_variant(folder)
    except StoreError:
        return
    if embeddings.fingerprint != source["fingerprint"]:
        yield Finding(rows.folder, f"was mapped from other embeddings than {folder} holds: reelstore apply")
        return
    contents = [one.tobytes().hex() for one in embeddings.table.fingerprints]
    wanted = dict(zip(embeddings.ids, row_fingerprints(rows.fingerprint, contents), strict=True))
    have = dict(zip(rows.ids, rows.table.fingerprints, strict=True))
    changed = [key for key in have if key not in wanted or not np.array_equal(have[key], wanted[key])]
    lacking = [key for key in wanted if key not in have]
    if changed or lacking:
        yield Finding(
            rows.folder,
            f"{len(changed)} rows weren't mapped from {folder} as it is, {len(lacking)} of its rows are lacking, "
            f"{[*changed, *lacking][0]!r} first: reelstore apply",
        )


def _against_dataset(rows: Rows) -> Iterator[Finding]:
    """Rows of an encoder's own output: those of the dataset's table, if it is here."""
    data = Layout(rows.folder.absolute().parents[2].name).data
    data = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
    try:
        wanted = DatasetRows(read_index(data), "video" if rows.side == "video" else "text")
    except ReelstoreError:
        return
    table = wanted.table(rows.spec)
    if table.keys != rows.ids:
        missing = int((rows.ids.find(table.keys) < 0).sum())
        more = int((table.keys.find(rows.ids) < 0).sum())
        yield Finding(rows.folder, f"lacks {missing} rows of {data} and has {more} others, or their order: dvc repro")
    elif not np.array_equal(table.fingerprints, rows.table.fingerprints):
        changed = (table.fingerprints != rows.table.fingerprints).any(axis=1)
        key = table.keys[int(np.flatnonzero(changed)[0])]
        yield Finding(
            rows.folder, f"{int(changed.sum())} rows are of other content than {data}, {key!r} first: dvc repro"
        )


def _tokens_of(rows: Rows) -> Rows | None:
    """The tokens this variant was pooled from, if they are kept beside it and are sound."""
    for folder in variant_folders(rows.folder.absolute().parent):
        try:
            attributes: Mapping[str, Any] | None = read_manifest(folder)
        except StoreError:
            continue
        if attributes is not None and attributes["fingerprint"] == rows.recipe["tokens"]:
            sound = not any(True for _ in check_variant(folder, quick=True))
            return open_variant(folder) if sound else None
    return None
