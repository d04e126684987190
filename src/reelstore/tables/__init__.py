"""Tables on disk: columns of text from CSV, TSV, JSON lines, JSON, Parquet and Arrow; of any type from the last two."""

from reelstore.tables.cells import is_code
from reelstore.tables.table import ENDINGS, Table, read_table, write_csv

__all__ = ["ENDINGS", "Table", "is_code", "read_table", "write_csv"]
