"""A page shows what others wrote, and runs none of it."""

import base64
import re
from html.parser import HTMLParser

import pytest

from reelstore.report.charts import line_chart
from reelstore.report.page import Section, Table, page

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style><script>alert(1)</script>",
    "<iframe src=http://127.0.0.1/></iframe>",
]
SHOWN = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td"}
SHOWN |= {"figure", "img", "svg", "text", "path", "polyline", "rect"}


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


def assert_inert(html: str) -> None:
    parser = Elements()
    parser.feed(html)
    for tag, attributes in parser.found:
        assert tag in SHOWN, tag
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "xlink:href")]
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
    policy = next(attributes["content"] for _, attributes in parser.found if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "script-src" not in policy and "img-src data:" in policy


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text_wherever_it_stands(text):
    chart = line_chart({text: [(0, 0), (1, 1)]}, title=text, x=text, y=text, dashed=[text])
    html = page(text, [Section(text, text, [Table([text], [[text]])], [chart])])
    assert_inert(html)
    assert text not in html


@pytest.mark.parametrize(
    "picture",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>',
        b"</figure><script>alert(1)</script>",
        b"<!doctype html><img src=x onerror=alert(1)>",
        b"\xff\xfe\x00'\"><script>",
        b"",
    ],
    ids=lambda picture: repr(picture[:12]),
)
def test_a_picture_from_a_file_is_an_image_and_nothing_else(picture):
    html = page("p", [Section("s", pictures=[picture])])
    assert_inert(html)
    assert "<script" not in html
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', html)
    assert [base64.b64decode(one) for one in found] == ([picture] if picture else [])
