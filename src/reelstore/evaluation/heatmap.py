"""A table of numbers -> a heat map as SVG text; the values are written in the cells."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP = 84, 44, 120, 84
_PALE, _DEEP = (247, 251, 255), (8, 48, 107)


def heat_map(
    table: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    rows: str,
    columns: str,
    scale: tuple[float, float],
    notes: Sequence[str] = (),
    framed: Collection[tuple[str, str]] = (),
) -> str:
    """Row name -> column name -> value, drawn from pale to deep.

    Args:
        table: rows of equal columns.
        title: heading.
        rows: what the rows are.
        columns: what the columns are.
        scale: values drawn palest and deepest; beyond them the colour stays.
        notes: lines below.
        framed: (row, column) of cells to put a frame around.
    """
    names = list(next(iter(table.values())))
    low, high = scale
    width = max(_LEFT + _WIDTH * len(names) + 20, 20 + 7 * max(map(len, (title, *notes))))
    bottom = _TOP + _HEIGHT * len(table)
    parts = [
        _text(20, 28, title, size=16),
        _text(_LEFT + _WIDTH * len(names) / 2, 54, columns, anchor="middle"),
        _text(20, 74, rows),
    ]
    parts += [_text(_LEFT + _WIDTH * (i + 0.5), 76, name, anchor="middle") for i, name in enumerate(names)]
    for number, (row, cells) in enumerate(table.items()):
        y = _TOP + _HEIGHT * number
        parts.append(_text(_LEFT - 12, y + _HEIGHT / 2 + 5, row, anchor="end"))
        for i, (column, value) in enumerate(cells.items()):
            share = min(max((value - low) / (high - low), 0.0), 1.0)
            parts += _cell(_LEFT + _WIDTH * i, y, value, share, framed=(row, column) in framed)
    parts += [_text(20, bottom + 28 + 20 * i, note) for i, note in enumerate(notes)]
    height = bottom + 28 + 20 * len(notes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _cell(x: float, y: float, value: float, share: float, *, framed: bool) -> list[str]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_PALE, _DEEP, strict=True))
    inset = 3 if framed else 1
    stroke = ' stroke="#c00" stroke-width="4"' if framed else ""
    return [
        f'<rect x="{x + inset}" y="{y + inset}" width="{_WIDTH - 2 * inset}" height="{_HEIGHT - 2 * inset}" '
        f'fill="rgb({red},{green},{blue})"{stroke}/>',
        _text(
            x + _WIDTH / 2, y + _HEIGHT / 2 + 5, f"{value:.4f}", anchor="middle", fill="#fff" if share > 0.5 else "#111"
        ),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, fill: str = "#111") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(text)}</text>'
