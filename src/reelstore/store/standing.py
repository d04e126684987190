"""What is stored, against what should be: which rows can stay, and which have to be made."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reelstore.errors import SchemaError
from reelstore.store.claim import claim
from reelstore.store.published import Published, open_published
from reelstore.store.schema import OK, SCHEMA_VERSION, VariantSpec
from reelstore.store.table import RowTable, split_names, table_columns

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Standing:
    """What of a published variant can stay where `table` is wanted.

    Attributes:
        published: the variant that is there, if it is of the same recipe.
        source: (n,) its row with the same fingerprint, for each row wanted; -1 where there is none.
        unchanged: whether it is, file by file, what is wanted.
    """

    published: Published | None
    source: Indices
    unchanged: bool

    @property
    def todo(self) -> Indices:
        """Rows that have to be made, in order."""
        return np.flatnonzero(self.source < 0)


def compare(
    folder: Path, spec: VariantSpec, table: RowTable, *, retry_failed: bool = False, verify: bool = True
) -> Standing:
    """What is stored, against what should be. Reads only.

    Args:
        folder: the variant's.
        spec: what it should hold.
        table: the rows it should have.
        retry_failed: count failed rows as missing.
        verify: read every file and compare its digest.

    Raises:
        OccupiedError: what lies there isn't a variant.
        SchemaError: it is damaged, of a newer schema, or another variant.
    """
    claim(folder)
    published = open_published(folder, verify=verify)
    nothing = np.full(len(table), -1, dtype=np.int64)
    if published is None:
        return Standing(None, nothing, False)
    _refuse_foreign(folder, published, spec)
    if published.attributes["fingerprint"] != spec.fingerprint:
        return Standing(None, nothing, False)
    published.recognise(table)
    usable = published.usable
    if retry_failed:
        usable = usable & (published.status == OK)
    source = _source_rows(published.fingerprints, usable, table)
    unchanged = (
        bool((source == np.arange(len(table))).all())
        and published.n_rows == len(table)
        and published.attributes["schema_version"] == SCHEMA_VERSION
        and not published.faults
        and _same_keys(published, table)
    )
    return Standing(published, source, unchanged)


def _source_rows(fingerprints: npt.NDArray[np.uint8], usable: npt.NDArray[np.bool_], table: RowTable) -> Indices:
    """Stored row with the same fingerprint, for each row of the table; -1 where there is none.

    The row in the same place comes first, so that equal items don't make rows move.
    """
    n_both = min(len(fingerprints), len(table))
    here = (fingerprints[:n_both] == table.fingerprints[:n_both]).all(axis=1) & usable[:n_both]
    source = np.full(len(table), -1, dtype=np.int64)
    source[:n_both] = np.where(here, np.arange(n_both), -1)
    left = np.flatnonzero(source < 0)
    if len(left):
        row_of = {fingerprints[row].tobytes(): row for row in np.flatnonzero(usable).tolist()}
        source[left] = [row_of.get(table.fingerprints[row].tobytes(), -1) for row in left]
    return source


def _same_keys(published: Published, table: RowTable) -> bool:
    """Whether keys and splits are those of the table: fingerprints don't say."""
    if list(published.attributes["splits"]) != split_names(table):
        return False
    columns = table_columns(published.spec, table, published.status, np.zeros(0, dtype=np.int64))
    names = [name for name in ("video_id_offsets", "video_id", "split", "caption_index") if name in columns]
    return all(np.array_equal(published.read(name, 0, len(columns[name])), columns[name]) for name in names)


def _refuse_foreign(folder: Path, published: Published, spec: VariantSpec) -> None:
    there, wanted = (f"{s.side}/{s.encoder}/{s.variant}" for s in (published.spec, spec))
    if there != wanted:
        raise SchemaError(f"{folder} holds {there}, not {wanted}. Move it to where it belongs.")
