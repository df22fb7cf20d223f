"""The page of trt-bench in a headless Chromium: no error, no request, no overflow, plots drawn, controls that work."""

import dataclasses
from collections.abc import Iterator

import bench_example
import browser as chromium
import pytest

from benchmarks.bench.page import write_page

pytestmark = pytest.mark.skipif(chromium.found() is None, reason="no Chromium on PATH; apt-get install chromium")
WIDTHS = {"desktop": 1280, "phone": 390}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
VISIBLE = "[...document.querySelectorAll('.canvas')].filter(one => one.offsetParent !== null)"
UNDRAWN = f"{VISIBLE}.filter(one => !one.querySelector('.main-svg')).length"
BROKEN = f"{VISIBLE}.filter(one => /NaN|undefined|\\[object/.test(one.innerHTML)).length"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    with chromium.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """name -> path."""
    folder = tmp_path_factory.mktemp("pages")
    made = {"whole": bench_example.on_gpu(), "hostile": bench_example.hostile(), "nothing": bench_example.nothing()}
    for name, result in made.items():
        older = [dataclasses.replace(result, started="2025-12-06T09:30:00Z")] if name == "whole" else []
        write_page(result, folder / f"{name}.html", history=older)
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("whole", "desktop", False), ("whole", "phone", True), ("hostile", "phone", False), ("nothing", "phone", True)],
)
def test_reads_well(browser, pages, name, width, dark):
    """Without a complaint of the console or of the page's policy, within the window, every plot drawn."""
    browser.open(pages[name], width=WIDTHS[width], dark=dark)
    assert browser.complaints() == [] and browser.requests() == []
    assert browser.evaluate(OVERFLOW) == 0
    assert browser.evaluate(UNDRAWN) == 0 and browser.evaluate(BROKEN) == 0
    assert (browser.evaluate(f"{VISIBLE}.length") > 5) == (name != "nothing")
    assert "taken" not in browser.evaluate("document.title").split("'")[0]
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(15, 19, 25)" if dark else "rgb(246, 247, 249)"
    )


def test_controls_work(browser, pages):
    """Another model, another tab, a sorted column, a hidden curve, the other colours: each by a click."""
    browser.open(pages["whole"], width=1280)
    shown = "[...document.querySelectorAll('div.model')].filter(one => !one.hidden).map(one => one.dataset.model)"
    assert set(browser.evaluate(shown)) == {"picoface_x8"}
    browser.evaluate("document.querySelector('[data-card=jasrnet]').click()")
    assert set(browser.evaluate(shown)) == {"jasrnet"}
    assert browser.evaluate("document.querySelector('#models').value") == "jasrnet"

    tab = "document.querySelector('div.model[data-model=jasrnet] button[data-tab=\"1\"]')"
    browser.evaluate(f"{tab}.click()")
    until_drawn = f"new Promise(done => {{ const look = () => {UNDRAWN} ? setTimeout(look, 20) : done(1); look(); }})"
    assert browser.evaluate(until_drawn) == 1 and browser.evaluate(f"{tab}.ariaSelected") == "true"

    head = "[...document.querySelectorAll('#measurements th')].find(one => one.textContent === 'p50')"
    column = f"[...{head}.closest('table').tBodies[0].rows].map(row => row.cells[{head}.cellIndex].dataset.value)"
    browser.evaluate(f"{head}.querySelector('button').click()")
    values = browser.evaluate(column)
    numbers = [float(value) for value in values if value is not None]
    assert numbers == sorted(numbers) and len(numbers) > 40
    assert None not in values[: len(numbers)], "what was not measured comes last"

    legend = "document.querySelector('#throughput div.model[data-model=jasrnet] .legend button')"
    assert browser.evaluate(f"{legend}.textContent") == "sdk, fp32"
    browser.evaluate(f"{legend}.click()")
    assert browser.evaluate(f"{legend}.ariaPressed") == "false"
    before = browser.evaluate("getComputedStyle(document.body).color")
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate("getComputedStyle(document.body).color") != before
    assert browser.complaints() == [] and browser.evaluate(OVERFLOW) == 0


def test_a_script_that_is_not_ours_is_refused(browser, pages):
    browser.open(pages["nothing"])
    browser.evaluate("""(() => { const one = document.createElement('script'); one.textContent = 'window.taken = 1';
        document.body.append(one);
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="taken = 1">'); })()""")
    complaints = browser.complaints()
    assert browser.evaluate("typeof taken") == "undefined"
    assert any("script-src" in one for one in complaints) and any("img-src" in one for one in complaints)


def test_without_a_script_the_tables_hold_the_numbers(browser, pages):
    browser.send("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(pages["whole"], width=390)
        assert browser.evaluate("document.querySelector('noscript .notice').offsetHeight > 0")
        assert browser.evaluate(f"{VISIBLE}.length") == 0
        assert browser.evaluate("document.querySelectorAll('#measurements tbody tr').length") > 40
        assert browser.evaluate(OVERFLOW) == 0
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", {"value": False})
