"""Series of numbers -> a line chart as SVG text."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 34, 44
_COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d5a97", "#b8741a", "#555555")
Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], *, title: str, x: str, y: str, dashed: Sequence[str] = ()) -> str:
    """Lines over a common pair of axes, with a legend.

    Args:
        series: name -> (x, y) points in order.
        title: heading.
        x: what the horizontal axis is.
        y: what the vertical axis is.
        dashed: names of the series drawn thin and dashed, such as chance.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(0.0, *(p[1] for p in points)), max(p[1] for p in points)
    span_x, span_y = (right - left) or 1.0, (high - low) or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + (point[0] - left) / span_x * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - (point[1] - low) / span_y * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_text(_LEFT, 18, title, size=14), _text(_WIDTH / 2, _HEIGHT - 8, x, anchor="middle"), _text(4, 30, y)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * span_y
        height = place((left, value))[1]
        parts.append(f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, height + 4, f"{value:.3g}", anchor="end"))
    for share in (0.0, 0.5, 1.0):
        value = left + share * span_x
        parts.append(_text(place((value, low))[0], _HEIGHT - _BOTTOM + 16, f"{value:g}", anchor="middle"))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        style = ' stroke-dasharray="4 3" stroke-width="1.2"' if name in dashed else ' stroke-width="2"'
        path = " ".join("{:.1f},{:.1f}".format(*place(point)) for point in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"{style}/>')
        parts.append(_text(_WIDTH - _RIGHT - 4, _TOP + 12 + 15 * number, name, anchor="end", fill=colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, fill: str = "#333") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(text)}</text>'
