"""Tables and pictures -> one self-contained HTML page: no script, no file beside it."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser may do with the page: show it. No script runs, nothing is loaded."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.2rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem; text-align: right }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
tbody tr:nth-child(even) { background: #f4f6f8 } .note { color: #555; font-size: .9em }
figure { display: inline-block; margin: .5rem 1rem .5rem 0 } img { max-width: 100% } code { overflow-wrap: anywhere }
"""


@dataclass(frozen=True)
class Table:
    """A heading row and rows of text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """The table as HTML; all text is escaped."""
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class Section:
    """A heading, a note, tables and SVG pictures.

    A picture is text that our own charts made, with their words escaped, or the bytes of a file. Of a file the page
    makes an image, in which a browser runs and loads nothing, with any content of the file.
    """

    heading: str
    note: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[str | bytes] = ()

    def html(self) -> str:
        """The section as HTML."""
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        figures = "".join(f"<figure>{_picture(picture)}</figure>" for picture in self.pictures if picture)
        return f"<h2>{escape(self.heading)}</h2>{note}" + "".join(table.html() for table in self.tables) + figures


def _picture(picture: str | bytes) -> str:
    if isinstance(picture, str):
        return picture
    return f'<img alt="" src="data:image/svg+xml;base64,{b64encode(picture).decode()}">'


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    body = "\n".join(section.html() for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )
