"""The picture of arrival times as a file: curves in, XML out, and back again."""

import xml.etree.ElementTree as ET

import pytest

from langchain_glm.cli._probe import Arrival, Fragment, measure
from langchain_glm.cli._report import Comparison
from langchain_glm.cli._svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, to_svg

NS = "{http://www.w3.org/2000/svg}"


def run(*points, end=8.0):
    arrivals = [Arrival(s, fragments=(Fragment(0, "x" * count),)) for s, count in points]
    return measure([*arrivals, Arrival(end)])


STREAMED = run((1.0, 100), (2.0, 300), (5.0, 600))
WHOLE = run((7.0, 1000))
NOTHING = run()


def drawn(streamed=STREAMED, whole=WHOLE, *, model="glm-4.7", scripted=False):
    comparison = Comparison(model, "https://me:key@glm.example/v4", scripted, streamed, whole)
    return ET.fromstring(to_svg(comparison))  # noqa: S314 - our own


def data(svg, name, seconds=8.0, characters=1000):
    """The corners of a polyline, in seconds and characters again."""
    (line,) = [line for line in svg.iter(f"{NS}polyline") if line.get("class") == name]
    pairs = [map(float, pair.split(",")) for pair in line.get("points").split()]
    return [
        (
            pytest.approx((x - LEFT) / (RIGHT - LEFT) * seconds, abs=0.01),
            pytest.approx((BOTTOM - y) / (BOTTOM - TOP) * characters, abs=characters / 1000),
        )
        for x, y in pairs
    ]


def texts(svg):
    return [element.text for element in svg.iter() if element.text and element.text.strip()]


def test_the_polylines_are_the_stairs_of_the_data():
    svg = drawn()
    assert data(svg, "with") == [
        *((0, 0), (1, 0), (1, 100), (2, 100), (2, 400), (5, 400), (5, 1000), (8, 1000)),
    ]
    assert data(svg, "without") == [(0, 0), (7, 0), (7, 1000), (8, 1000)]


@pytest.mark.parametrize(
    ("whole", "corners"),
    [(NOTHING, [(0, 0), (8, 0)]), (run((8.0, 1)), [(0, 0), (8, 0), (8, 1), (8, 1)])],
    ids=["no arguments", "one character"],
)
def test_short_curves(whole, corners):
    assert data(drawn(whole=whole), "without") == corners


def test_two_runs_without_arguments_are_a_picture_too():
    svg = drawn(NOTHING, run(end=0.0001))
    assert data(svg, "with", characters=1) == [(0, 0), (8, 0)]
    assert "with tool_stream: no arguments came" in texts(svg)


def test_title_and_labels():
    svg = drawn(scripted=True)
    words = texts(svg)
    title = svg.find(f"{NS}title").text
    assert title.endswith("glm-4.7 at https://glm.example/v4 (scripted server, no model)")
    assert svg.find(f"{NS}desc").text.startswith("Yes, the arguments stream: 3 fragments.")
    assert "seconds since the request" in words
    assert "characters of arguments" in words
    assert "with tool_stream: first arguments after 1.00 s" in words
    assert "without tool_stream: first arguments after 7.00 s" in words
    assert [word for word in words if word.replace(",", "").isdigit()] == [
        *("0", "1", "2", "3", "4", "5", "6", "7", "8"),
        *("0", "200", "400", "600", "800", "1,000"),
    ]
    assert "me:key" not in "".join(words)


def test_the_series_differ_without_colour_and_in_the_dark():
    (style,) = drawn().iter(f"{NS}style")
    light, dark = style.text.split("@media (prefers-color-scheme: dark)")
    for scheme in (light, dark):
        assert all(f".{name} {{ " in scheme for name in ("paper", "grid", "with", "without"))
    assert "stroke-dasharray" in light


def test_everything_is_inside_the_picture():
    svg = drawn()
    assert svg.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    for name, limit in {"x": WIDTH, "y": HEIGHT, "x1": WIDTH, "y2": HEIGHT}.items():
        places = [float(element.get(name)) for element in svg.iter() if element.get(name)]
        assert places
        assert all(0 <= place <= limit for place in places)


def test_a_name_that_is_no_xml():
    assert "a<b>&\"'c at https://glm.example/v4" in texts(drawn(model="a<b>&\"'\x00\x1b\ud83dc"))
