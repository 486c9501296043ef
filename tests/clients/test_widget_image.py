"""GetMetricWidgetImage: the PNG is read back, and its lines are where the data are."""

import datetime
import json
import struct
import zlib

import pytest

from support.errors import refused

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture
def namespace(request):
    return f"T/{request.node.name}"


def minute(ago):
    now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    return now - datetime.timedelta(minutes=ago)


def put(cloudwatch, namespace, name, value, minutes=60):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": name, "Timestamp": minute(ago), "Value": value(ago)} for ago in range(minutes)])


def image(cloudwatch, **widget):
    """The size of an image, and its rows of pixels."""
    png = cloudwatch.get_metric_widget_image(MetricWidget=json.dumps(widget))["MetricWidgetImage"]
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        data = png[at + 8:at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = chunks.get(kind, b"") + data
        at += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, color) == (8, 2)
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[start + 1:start + 1 + 3 * width] for start in range(0, len(raw), 3 * width + 1)]
    assert len(rows) == height
    return width, height, [[tuple(row[x:x + 3]) for x in range(0, 3 * width, 3)] for row in rows]


def places(pixels, color):
    return [(x, y) for y, row in enumerate(pixels) for x, pixel in enumerate(row) if pixel == color]


def middle(pixels, color):
    found = [y for _, y in places(pixels, color)]
    assert found and max(found) - min(found) <= 2, "a constant is a level line"
    return sum(found) / len(found)


def widget(namespace, *metrics, **more):
    return {"metrics": [list(metric) for metric in metrics], "start": "-PT1H", "period": 60,
            "legend": {"position": "hidden"}, "yAxis": {"left": {"min": 0, "max": 100}}, **more}


def test_lines_are_where_the_data_are(cloudwatch, namespace):
    for name, value in (("low", 10), ("middle", 50), ("high", 90)):
        put(cloudwatch, namespace, name, lambda ago, value=value: value)
    width, height, pixels = image(cloudwatch, **widget(
        namespace, [namespace, "low", {"color": "#ff0000"}], ["...", "middle", {"color": "#00ff00"}],
        [".", "high", {"color": "#0000ff"}], width=500, height=300, title="levels"))
    assert (width, height) == (500, 300)
    low, half, high = (middle(pixels, color) for color in (RED, GREEN, BLUE))
    assert low > half > high
    assert abs(half - (low + high) / 2) <= 1.5
    # 80 of 100 lie between the lowest and the highest.
    assert 0.5 * height < (low - high) / 0.8 < height


def test_a_step_is_where_its_time_is(cloudwatch, namespace):
    put(cloudwatch, namespace, "m", lambda ago: 80 if ago < 30 else 20)
    width, _, pixels = image(cloudwatch, **widget(namespace, [namespace, "m", {"color": "#ff0000"}], width=600))
    found = places(pixels, RED)
    left, right = min(x for x, _ in found), max(x for x, _ in found)
    top, bottom = min(y for _, y in found), max(y for _, y in found)
    last_low = max(x for x, y in found if y >= bottom - 3)
    first_high = min(x for x, y in found if y <= top + 3)
    assert left < last_low <= first_high < right
    assert abs((last_low + first_high) / 2 - (left + right) / 2) < 0.05 * width


def test_expressions_annotations_and_the_right_axis(cloudwatch, namespace):
    put(cloudwatch, namespace, "m", lambda ago: 10)
    _, _, pixels = image(cloudwatch, **widget(
        namespace, [namespace, "m", {"id": "m1", "visible": False}],
        [{"expression": "m1 * 5", "label": "five times", "color": "#ff0000"}],
        [namespace, "m", {"yAxis": "right", "color": "#0000ff"}],
        yAxis={"left": {"min": 0, "max": 100}, "right": {"min": 0, "max": 20}},
        annotations={"horizontal": [{"value": 75, "color": "#00ff00"}]}))
    # Both are half of their axes, and the later line is above.
    assert not places(pixels, RED) or middle(pixels, RED) == pytest.approx(middle(pixels, BLUE), abs=2)
    quarter = middle(pixels, GREEN)
    assert quarter < middle(pixels, BLUE)


def test_an_empty_chart_is_an_image(cloudwatch, namespace):
    for width, height in ((1, 1), (2000, 2000)):
        found = image(cloudwatch, metrics=[[namespace, "none"]], width=width, height=height)
        assert found[:2] == (width, height)


def test_the_query_protocol_and_a_policy_of_formats(cloudwatch, namespace):
    good = json.dumps({"metrics": [[namespace, "m"]]})
    assert cloudwatch.get_metric_widget_image(MetricWidget=good, OutputFormat="png")["MetricWidgetImage"]
    with refused("UnsupportedOperation"):
        cloudwatch.get_metric_widget_image(MetricWidget=good, OutputFormat="image/png")


def test_what_is_no_widget_is_refused_by_name(cloudwatch, namespace):
    good = {"metrics": [[namespace, "m"]]}
    for code, words, text in (
            ("ValidationError", "…not valid JSON", "{"),
            ("ValidationError", "…Should have required property 'metrics'", "{}"),
            ("ValidationError", "…Should NOT have additional properties: 'colour'",
             json.dumps({**good, "colour": "red"})),
            ("ValidationError", "…Should be <= 2000", json.dumps({**good, "width": 2001})),
            ("ValidationError", "…Error in expression", json.dumps({"metrics": [[{"expression": "m1+"}]]})),
            ("UnsupportedOperation", "…view=pie", json.dumps({**good, "view": "pie"})),
            ("UnsupportedOperation", "…liveData", json.dumps({**good, "liveData": True}))):
        with refused(code, words):
            cloudwatch.get_metric_widget_image(MetricWidget=text)
