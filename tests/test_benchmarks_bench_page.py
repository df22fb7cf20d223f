"""benchmarks.bench.page: markup that parses, names that stay text, every number in a table, nothing from outside."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import bench_example
import pytest

from benchmarks.bench import page_html
from benchmarks.bench.labels import significant
from benchmarks.bench.page import page, write_page
from benchmarks.bench.page_sections import agreed
from benchmarks.bench.results import Latency, Prediction
from sdk.errors import MissingPackageError, OutputError

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Elements, texts and tables of a page; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole():
    """(result, its page, the page read)."""
    result = bench_example.result()
    text = page(result, history=[bench_example.result(days=-7, scale=1.1, seed=4)])
    return result, text, Reader(text)


def plots_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="plots"[^>]*>(.*?)</script>', text, re.S)[1])


def test_every_measurement_is_in_a_table(whole):
    result, _, read = whole
    cells = set(read.texts["td"])
    for one in result.measurements:
        if one.latency_ms:
            assert {significant(one.latency_ms.p50), significant(one.latency_ms.p99)} <= cells
    assert "out of memory" in cells and "no CUDA device" in cells
    assert {ratio.name.partition(": ")[2] for ratio in result.ratios} <= cells
    assert {"ours is faster", "ours costs more", "no difference", "≤ 1.15×: missed"} <= cells


def test_sections_are_there_and_linked(whole):
    _, _, read = whole
    keys = [attributes["id"] for attributes in read.of("section")]
    assert keys == ["summary", "rivals", "latency", "throughput", "stages", "limit", "scaling", "predictions",
                    "history", "measurements", "conditions"]  # fmt: skip
    links = [attributes["href"] for attributes in read.of("a")]
    assert links[:-1] == [f"#{key}" for key in keys] and links[-1].startswith("data:text/csv;base64,")


def test_nothing_comes_from_outside(whole):
    _, text, read = whole
    for tag, attributes in read.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, address)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in read.of("meta")[1]["content"]
    assert 1e6 < len(text) < 3e6  # Plotly's script, packed


def test_every_plot_has_its_place_and_names_its_axes(whole):
    _, text, read = whole
    places = [int(a["data-plot"]) for a in read.of("div") if "data-plot" in a]
    plots = plots_of(text)["plots"]
    assert sorted(places) == list(range(len(plots))) and len(plots) > 20
    assert all(plot["layout"]["height"] >= 200 and plot["data"] for plot in plots)


def test_colours_of_plots_are_the_pages(whole):
    _, text, _ = whole
    used = set(re.findall(r"var\((--[\w-]+)\)", json.dumps(plots_of(text))))
    defined = set(re.findall(r"^  (--[\w-]+):", text, re.M))
    assert used <= defined and len(used) > 8, used - defined


def test_hostile_names_stay_text():
    result = bench_example.hostile()
    text = page(result)
    read = Reader(text)
    assert [a["id"] for a in read.of("script")] == ["plots", "plotly", "own"] and not read.of("img")
    assert not any(name.startswith("on") for _, attributes in read.elements for name in attributes)
    shown = bench_example.HOSTILE.replace("\u202e", "?")
    assert read.texts["h1"] == [shown] and shown in read.texts["td"] and "\u202e" not in text
    plots = json.dumps(plots_of(text))
    assert "<script" not in plots and "<img" not in plots and "%{x}: <" not in plots
    for plot in plots_of(text)["plots"]:
        for trace in plot["data"]:
            assert "<" not in trace.get("name", "") and "{" not in trace.get("name", ""), trace["name"]


def test_history_is_of_one_machine():
    result = bench_example.result()
    assert 'id="history"' not in page(result, history=[bench_example.on_gpu()])
    text = page(result, history=[bench_example.on_gpu(), bench_example.result(days=-7)])
    assert "1 of another machine left out" in text


def test_an_interrupted_run_and_one_model_alone():
    read = Reader(page(bench_example.nothing()))
    assert read.texts["h1"] == ["Nothing measured"] and any("interrupted" in told for told in read.texts["p"])
    result = bench_example.result()
    only = [m for m in result.measurements if m.subject.startswith("jasrnet/torch")][:1]
    chosen = dataclasses.replace(result, measurements=tuple(only), ratios=(), scaling=(), cold=(), predictions=())
    assert Reader(page(chosen)).texts["h1"]


def test_one_sample_makes_a_page():
    result = bench_example.result()
    one = bench_example.measurement(result.subjects[0].id, bench_example.latencies(2.0, samples=1))
    text = page(dataclasses.replace(result, measurements=(one,), ratios=(), scaling=()))
    assert Reader(text).of("section")


def test_predictions_meet_the_measurements_of_their_device():
    """Also those of an older run, and those of one that predicted nothing."""
    result = bench_example.on_gpu()  # an H200
    bare = next(s for s in result.subjects if s.way == "bare" and s.precision == "fp32")
    rows = tuple(
        Prediction(device, bare.model, "fp32", batch, 2.0, 1.0, 3.0, "a guess")
        for device, batch in (("h200", 1), ("orin-nano", 1), ("h200", 3))
    )
    older = dataclasses.replace(bench_example.result(), predictions=rows)
    found = agreed([dataclasses.replace(result, predictions=()), older])
    (measured,) = [m for m in result.measurements if m.subject == bare.id and m.batch == 1]
    assert [(one.device, one.batch, one.measured_ms) for one in found] == [("h200", 1, measured.latency_ms.p50)]


def test_cells_escape_and_sort_by_number():
    cells = [[page_html.Cell("a<b", None), page_html.Cell("1,000", 1000.0, "good")]]
    text = page_html.table(["x", 'y"'], cells, models=['"m"'])
    assert '<td>a&lt;b</td><td class="number good" data-value="1000">1,000</td>' in text
    assert 'data-model="&quot;m&quot;"' in text and "y&quot;" in text
    assert page_html.table(["x"], []) == page_html.section("a", "b", "c", "") == ""


def test_without_plotly_the_feature_is_named(monkeypatch):
    monkeypatch.setattr("benchmarks.bench.plotting.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'plotly for the HTML page .* pip install "facetrt\[bench\]"'):
        page(bench_example.nothing())


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a page to write"):
        write_page(bench_example.nothing(), tmp_path / "file" / "page.html")
    write_page(bench_example.nothing(), tmp_path / "deep" / "page.html")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["page.html"]


@pytest.mark.parametrize("value", [1e-300, 1e300])
def test_numbers_at_the_end_of_their_range_make_a_page(value):
    result = bench_example.result()
    odd = dataclasses.replace(result.measurements[0], latency_ms=Latency(*[value] * 6), windows_p50_ms=(value,) * 8)
    probe = {"copy_gb_s": 0.0, "fp32_gflop_s": None, "cache_gb_s": 1e-300}
    conditions = dataclasses.replace(result.conditions, probe=probe, samples=({"x": 1.0}, {"t_s": 0.0}))
    text = page(dataclasses.replace(result, measurements=(odd,), conditions=conditions))
    assert "NaN" not in plots_of(text) and Reader(text).of("section")
