"""Tables on disk: columns of text from CSV, TSV, JSON lines, Parquet and Arrow; columns of any type from the latter."""

from reelstore.tables.table import ENDINGS, Table, read_table, write_csv

__all__ = ["ENDINGS", "Table", "read_table", "write_csv"]
