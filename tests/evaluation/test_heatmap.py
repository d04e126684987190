"""The heat map is SVG that any reader takes, with its numbers in it."""

from xml.etree import ElementTree

from reelstore.evaluation.heatmap import heat_map


def test_every_cell_name_and_note_is_in_the_picture():
    table = {"mean": {"mean": 0.25, "max": 0.5}, "first": {"mean": 0.125, "max": 1.0}}
    svg = heat_map(table, title="MRR <1", rows="video", columns="text", notes=["chance"], framed=[("mean", "max")])
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"MRR <1", "video", "text", "mean", "first", "max", "chance"} <= set(texts)
    assert {"0.2500", "0.5000", "0.1250", "1.0000"} <= set(texts)
    assert svg.count("stroke=") == 1


def test_a_table_of_equal_values_is_drawn_too():
    assert "0.1000" in heat_map({"a": {"b": 0.1}}, title="t", rows="r", columns="c")
