"""The heat map is SVG that any reader takes, with its numbers in it."""

import re
from xml.etree import ElementTree

from reelstore.evaluation.heatmap import heat_map


def test_every_cell_name_and_note_is_in_the_picture():
    table = {"mean": {"mean": 0.25, "max": 0.5}, "first": {"mean": 0.125, "max": 1.0}}
    svg = heat_map(
        table, title="MRR <1", rows="video", columns="text", scale=(0, 1), notes=["chance"], framed=[("mean", "max")]
    )
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"MRR <1", "video", "text", "mean", "first", "max", "chance"} <= set(texts)
    assert {"0.2500", "0.5000", "0.1250", "1.0000"} <= set(texts)
    assert svg.count("stroke=") == 1


def test_values_beyond_the_scale_keep_its_colours():
    svg = heat_map({"a": {"b": -1.0, "c": 0.0, "d": 1.0, "e": 2.0}}, title="t", rows="r", columns="c", scale=(0, 1))
    fills = re.findall(r'fill="(rgb[^"]*)"', svg)
    assert fills[0] == fills[1] != fills[2] == fills[3]
