"""The sections of the page, in the order of a reader's questions: how fast, faster than what, how fast could it be."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench import labels, page_tables, plots_latency, plots_limits, plots_trends
from benchmarks.bench.agreement import Compared, compared
from benchmarks.bench.page_html import Figures, facts, folded, of_model, section
from benchmarks.bench.plots_latency import Palette
from benchmarks.bench.plotting import Plot
from benchmarks.bench.results import Measurement, Result

__all__ = ["Page", "sections"]

SCENARIO_ORDER = {"SingleStream": 0, "MultiStream": 1, "Offline": 2, "Server": 3}
MOST_TABS = 6  # cases of a distribution: more than this nobody compares


@dataclass
class Page:
    """What the sections share."""

    result: Result
    history: Sequence[Result]  # older ones, oldest first
    palette: Palette
    figures: Figures

    @property
    def models(self) -> list[str]:
        return [model.name for model in self.result.models]

    def rows(self, model: str) -> list[Measurement]:
        return [one for one in self.result.measurements if self.palette.names.model(one.subject) == model]

    def each_model(self, block: Callable[[str], str]) -> list[str]:
        return [of_model(name, block(name)) for name in self.models]


def kept(*plots: Plot | None) -> list[Plot]:
    return [plot for plot in plots if plot is not None]


def as_table(table: str) -> str:
    """What stands below plots that show the same."""
    return folded("As a table", table)


def sections(page: Page) -> list[tuple[str, str, str]]:
    """(key, name in the navigation, HTML) of every section that has something to show."""
    made = [
        ("summary", "Summary", _summary(page)),
        ("rivals", "Rivals", _rivals(page)),
        ("latency", "Latency", _latency(page)),
        ("throughput", "Throughput", _throughput(page)),
        ("stages", "Stages", _stages(page)),
        ("limit", "Limit", _limit(page)),
        ("scaling", "Scaling", _scaling(page)),
        ("predictions", "Predictions", _predictions(page)),
        ("history", "History", _history(page)),
        ("measurements", "All numbers", _numbers(page)),
        ("conditions", "Conditions", _conditions(page)),
    ]
    return [one for one in made if one[2]]


def _summary(page: Page) -> str:
    cards = "".join(page_tables.card(page.result, model, page.rows(model.name)) for model in page.result.models)
    return section("summary", "Summary", "", f'<div class="cards">{cards}</div>' if cards else "")


def _rivals(page: Page) -> str:
    names = page.palette.names
    groups = [(model, [r for r in page.result.ratios if names.model(r.fast) == model]) for model in page.models]
    blocks = [
        of_model(name, page.figures.grid(kept(plots_limits.forest(rows, names)))) for name, rows in groups if rows
    ]
    intro = (
        "Two ways by turns in one process, so that what disturbs one disturbs the other. Intervals are bootstrapped; "
        'a difference below what a way differs from itself (A/A) is none. "processor" is the ratio of processor '
        "times, which other programs disturb less."
    )
    return section("rivals", "Against rivals", intro, *blocks, page_tables.ratios(page.result, names))


def cases(rows: Sequence[Measurement]) -> list[tuple[str, int]]:
    """(scenario, batch) that have numbers, the usual ones first."""
    found = {(one.scenario, one.batch) for one in rows if one.latency_ms}
    return sorted(found, key=lambda case: (SCENARIO_ORDER.get(case[0], 9), case[1]))


def _latency(page: Page) -> str:
    def of(model: str) -> str:
        rows = page.rows(model)
        panels = []
        for scenario, batch in cases(rows)[:MOST_TABS]:
            chosen = [one for one in rows if (one.scenario, one.batch) == (scenario, batch)]
            plots = kept(plots_latency.distribution(chosen, page.palette), plots_latency.tail(chosen, page.palette))
            panels.append((f"{scenario} ×{batch}", plots))
        return page.figures.tabs(panels)

    cold = page.figures.grid(kept(plots_latency.cold_start(page.result, page.palette)))
    intro = "A query is one call with one batch of faces; ×8 is a batch of eight. Click a name in a legend to hide it."
    return section("latency", "Latency", intro, *page.each_model(of), cold, as_table(page_tables.cold(page.result)))


def _throughput(page: Page) -> str:
    def of(model: str) -> str:
        rows, palette = page.rows(model), page.palette
        batches = kept(plots_latency.per_batch(rows, palette), plots_latency.trade(rows, palette))
        return page.figures.grid(batches) + page.figures.grid(kept(plots_trends.server(rows, palette)))

    return section("throughput", "Throughput", "", *page.each_model(of), as_table(page_tables.servers(page.result)))


def _stages(page: Page) -> str:
    def of(model: str) -> str:
        return page.figures.grid(kept(plots_latency.stages(page.rows(model), page.palette)))

    intro = "Where the time of a query goes, from the frame in memory to pictures and points."
    return section(
        "stages", "Stages", intro, *page.each_model(of), folded("As a table", page_tables.stages(page.result))
    )


def _limit(page: Page) -> str:
    def of(name: str) -> str:
        model = next(one for one in page.result.models if one.name == name)
        rows = page.rows(name)
        plots = kept(
            plots_limits.roofline(page.result, model, rows, page.palette),
            plots_limits.shares(page.result, rows, page.palette),
        )
        return page.figures.grid(plots) + folded("Layers that bound it", page_tables.layers(model))

    intro = (
        "Operations and bytes counted from the network's graph, over the rates that this machine reached in a probe: "
        "no program of the same arithmetic can be faster here."
    )
    table = as_table(page_tables.limits(page.result))
    return section("limit", "The machine's limit", intro, *page.each_model(of), table)


def _scaling(page: Page) -> str:
    points = page.result.scaling
    several = len({page.palette.names.model(point.subject) for point in points}) > 1
    plots = plots_trends.scaling(points, page.palette, several_models=several)
    return section("scaling", "Scaling", "", page.figures.grid(plots), as_table(page_tables.scaling(page.result)))


def _predictions(page: Page) -> str:
    real = agreed([page.result, *page.history])

    def of(name: str) -> str:
        rows = [one for one in page.result.predictions if one.model == name]
        return page.figures.grid(kept(plots_limits.predicted(rows, [one for one in real if one.model == name])))

    intro = "Computed, not measured: for boards that were not at hand. The bar is the model's error band."
    parity = page.figures.grid(kept(plots_limits.parity(real)))
    table = as_table(page_tables.predictions(page.result))
    return section("predictions", "Predictions", intro, *page.each_model(of), parity, table)


def agreed(results: Sequence[Result]) -> list[Compared]:
    """Predictions of any of the runs, each beside what a run on that very device measured."""
    predictions = tuple(dict.fromkeys(row for result in results for row in result.predictions))
    return [pair for result in results for pair in compared(dataclasses.replace(result, predictions=predictions))]


def _history(page: Page) -> str:
    here = machine_of(page.result)
    older = [one for one in page.history if machine_of(one) == here]
    results = sorted([*older, page.result], key=lambda result: result.started)

    def of(model: str) -> str:
        return page.figures.grid(kept(plots_trends.history(results, model, page.palette)))

    others = len(page.history) - len(older)
    told = f"Earlier runs on this machine; {others} of another machine left out." if others else ""
    return section("history", "History", told, *page.each_model(of)) if older else ""


def machine_of(result: Result) -> tuple[str, int, str]:
    """What two runs must share for one curve."""
    conditions = result.conditions
    return conditions.machine.cpu, conditions.machine.cores, conditions.gpu.name if conditions.gpu else ""


def _numbers(page: Page) -> str:
    missing = page_tables.missing(page.result)
    table = page_tables.measurements(page.result, page.palette.names)
    intro = "Every measurement; click a heading to sort. Latencies are of a query, in milliseconds."
    return section("measurements", "All numbers", intro, table, "<h3>Not measured</h3>" + missing if missing else "")


def _conditions(page: Page) -> str:
    left, right = page_tables.machine_facts(page.result), page_tables.run_facts(page.result)
    blocks = f'<div class="columns">{facts(left)}{facts(right)}</div>'
    plots = page.figures.grid(plots_trends.sensors(page.result))
    models = page_tables.models(page.result)
    told = f"facetrt {page.result.facetrt}" + (f", {page.result.source}" if page.result.source else "")
    return section("conditions", "Conditions", f"Measured with {labels.printable(told)}.", blocks, plots, models)
