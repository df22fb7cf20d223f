"""The page's tables and figures in words: everything that a plot shows, to be read, sorted and copied."""

from collections.abc import Sequence

from benchmarks.bench import labels
from benchmarks.bench.labels import ABSENT, grouped, percent, significant
from benchmarks.bench.page_html import Cell, escaped, table, tiles
from benchmarks.bench.results import Measurement, Model, Result

Names = labels.Names
TARGETS = {True: "good", False: "bad", None: "quiet"}
MOST_LAYERS = 12
UNITS = {"_gb_s": "GB/s", "_gflop_s": "GFLOP/s", "_gop_s": "GOP/s", "_mb": "MB", "_us": "µs"}  # of the probe's rates
PERCENTILES = ("p50", "p90", "p99", "p99_9", "max", "mean")
SOURCES = {"facetrt": "shipped with facetrt", "paper": "a paper's network", "foreign": "a network of others"}


def ms(value: float | None) -> Cell:
    return Cell(significant(value), value)


def amount(value: float | None) -> Cell:
    return Cell(grouped(value), value)


def share(fraction: float | None) -> Cell:
    return Cell(percent(fraction), fraction)


def card(result: Result, model: Model, rows: Sequence[Measurement]) -> str:
    """The few numbers of a model that somebody quotes."""
    names = Names(result)
    whole = [one for one in rows if one.latency_ms and not labels.is_stage(names.of[one.subject])]
    good = [one for one in whole if names.of[one.subject].way == labels.OWN_WAY] or whole
    if not good:
        return ""
    found: list[tuple[str, str, str]] = []
    single = [one for one in good if one.scenario == "SingleStream" and one.batch <= 1]
    if single:
        best = min(single, key=lambda one: one.latency_ms.p50 if one.latency_ms else 0.0)
        assert best.latency_ms is not None
        told = f"p50, p99 {significant(best.latency_ms.p99)} ms ({names.short(best.subject)})"
        found.append(("One face", f"{significant(best.latency_ms.p50)} ms", told))
    fed = [one for one in good if one.faces_per_s and one.scenario != "Server"]
    if fed:
        best = max(fed, key=lambda one: one.faces_per_s or 0.0)
        told = f"a second, batch {best.batch} ({names.short(best.subject)})"
        found.append(("Most faces", grouped(best.faces_per_s), told))
    found += _card_more(result, model, good, names)
    head = f"<h3>{escaped(model.name)}</h3><p>{escaped(SOURCES[model.source])}</p>"
    return f'<div class="card" data-card="{escaped(model.name)}">{head}{tiles(found)}</div>'


def _card_more(result: Result, model: Model, rows: Sequence[Measurement], names: Names) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    ours = [r for r in result.ratios if names.model(r.fast) == model.name and r.verdict == "faster"]
    ours = [r for r in ours if names.of[r.fast].way == labels.OWN_WAY and names.of[r.slow].way != labels.OWN_WAY]
    if ours:
        best = max(ours, key=lambda r: r.ratio)
        told = f"{labels.interval(best)}; {names.short(best.fast)} against {names.short(best.slow)}"
        found.append(("Times as fast as a rival", labels.times(best.ratio), told))
    near = [(value, one) for one in rows if (value := labels.share_of_limit(result, one)) is not None]
    if near:
        value, one = max(near, key=lambda pair: pair[0])
        found.append(("Of the machine's limit", percent(value), f"batch {one.batch} ({names.short(one.subject)})"))
    energy = [one for one in rows if one.joule_per_face is not None]
    if energy:
        one = min(energy, key=lambda one: one.joule_per_face or 0.0)
        found.append(
            (
                "Energy",
                f"{significant(one.joule_per_face)} J",
                f"a face, batch {one.batch} ({names.short(one.subject)})",
            )
        )
    return found


def ratios(result: Result, names: Names) -> str:
    header = ["model", "ratio", "batch", "times", "interval", "verdict", "target", "A/A", "processor", "added"]
    rows: list[list[Cell]] = []
    for r in result.ratios:
        verdict, kind = labels.standing(r, names)
        rows.append([
            Cell(names.model(r.fast)), Cell(labels.ratio_name(r, names), kind="wrap"), Cell(str(r.batch), r.batch),
            Cell(labels.times(r.ratio), r.ratio), Cell(labels.interval(r)), Cell(verdict, kind=kind),
            Cell(labels.target(r), kind=TARGETS[r.met]), Cell(f"± {percent(r.control_spread)}", r.control_spread),
            Cell(labels.processor_times(r), r.processor_ratio), Cell(labels.added(r)),
        ])  # fmt: skip
    return table(header, rows, models=[names.model(r.fast) for r in result.ratios])


def measurements(result: Result, names: Names) -> str:
    """Every measurement; columns that nobody filled are left out."""
    rows = sorted(result.measurements, key=lambda one: (labels.importance(names.of[one.subject]), one.subject))
    order = [model.name for model in result.models]
    rows.sort(key=lambda one: order.index(names.model(one.subject)))
    columns: list[tuple[str, list[Cell]]] = [
        ("model", [Cell(names.model(one.subject)) for one in rows]),
        ("subject", [Cell(names.short(one.subject)) for one in rows]),
        ("scenario", [Cell(one.scenario) for one in rows]),
        ("batch", [Cell(str(one.batch), one.batch) for one in rows]),
        ("threads", [Cell(str(one.threads) if one.threads else "default", one.threads) for one in rows]),
    ]
    for key, title in (
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("p99_9", "p99.9"),
        ("max", "max"),
        ("mean", "mean"),
    ):
        columns.append((title, [ms(getattr(one.latency_ms, key) if one.latency_ms else None) for one in rows]))
    columns += [
        ("faces/s", [amount(one.faces_per_s) for one in rows]),
        ("of limit", [share(labels.share_of_limit(result, one)) for one in rows]),
        ("processor ms", [ms(one.processor_ms) for one in rows]),
        ("MiB", [Cell(labels.mebibytes(one.memory_mib), one.memory_mib) for one in rows]),
        ("J/face", [ms(one.joule_per_face) for one in rows]),
        ("samples", [Cell(str(one.samples), one.samples) for one in rows]),
        (
            "note",
            [
                Cell(
                    one.error or labels.brief(one.flags),
                    kind="bad wrap" if one.error else "wrap",
                    more="; ".join(one.flags),
                )
                for one in rows
            ],
        ),
    ]
    filled = [(name, cells) for name, cells in columns if any(cell.text not in {ABSENT, ""} for cell in cells)]
    lines = [[cells[i] for _, cells in filled] for i in range(len(rows))]
    return table([name for name, _ in filled], lines, models=[names.model(one.subject) for one in rows])


def cold(result: Result) -> str:
    names = Names(result)
    header = ["model", "subject", "import ms", "load ms", "context ms", "first run ms", "capture ms", "together ms"]
    rows = []
    for one in result.cold:
        parts = [one.import_ms, one.load_ms, one.context_ms, one.first_run_ms, one.capture_ms]
        cells = [ms(value) for value in (*parts, sum(value or 0.0 for value in parts))]
        rows.append([Cell(names.model(one.subject)), Cell(names.short(one.subject)), *cells])
    return table(header, rows, models=[names.model(one.subject) for one in result.cold])


def servers(result: Result) -> str:
    names = Names(result)
    chosen = [one for one in result.measurements if one.server]
    header = ["model", "subject", "target p99 ms", "queries/s that held", "p50 ms", "p99 ms"]
    rows = [
        [
            Cell(names.model(one.subject)), Cell(names.short(one.subject)), ms(one.server.target_ms),
            amount(one.server.rate_per_s or 0.0),
            ms(one.latency_ms.p50 if one.latency_ms else None), ms(one.latency_ms.p99 if one.latency_ms else None),
        ]
        for one in chosen if one.server
    ]  # fmt: skip
    return table(header, rows, models=[names.model(one.subject) for one in chosen])


def stages(result: Result) -> str:
    names = Names(result)
    chosen = [one for one in result.measurements if one.stages_ms]
    header = ["model", "subject", "batch", "stage", "ms", "of the query"]
    rows, models = [], []
    for one in chosen:
        whole = sum((one.stages_ms or {}).values())
        for name, value in (one.stages_ms or {}).items():
            model = names.model(one.subject)
            where = [
                Cell(model),
                Cell(names.short(one.subject)),
                Cell(str(one.batch), one.batch),
                Cell(name.replace("_", " ")),
            ]
            rows.append([*where, ms(value), share(value / whole if whole else None)])
            models.append(model)
    return table(header, rows, models=models)


def limits(result: Result) -> str:
    header = ["model", "backend", "precision", "batch", "GFLOP", "MB moved", "least ms", "bound by", "layers"]
    rows = [
        [
            Cell(model.name), Cell(limit.backend), Cell(limit.precision), Cell(str(limit.batch), limit.batch),
            ms(limit.flop / 1e9), ms(limit.bytes / 1e6), ms(limit.floor_ms), Cell(limit.bound),
            Cell(str(len(limit.layers)), len(limit.layers)),
        ]
        for model in result.models
        for limit in model.limits
    ]  # fmt: skip
    return table(header, rows, models=[model.name for model in result.models for _ in model.limits])


def layers(model: Model) -> str:
    """The layers with the largest floors, at the smallest batch of each precision."""
    header = ["precision, batch", "layer", "kind", "MFLOP", "MB", "least ms", "of all", "bound by"]
    rows: list[list[Cell]] = []
    seen: set[str] = set()
    for limit in sorted(model.limits, key=lambda one: one.batch):
        if limit.precision in seen:
            continue
        seen.add(limit.precision)
        for one in sorted(limit.layers, key=lambda one: -one.floor_ms)[:MOST_LAYERS]:
            part = one.floor_ms / limit.floor_ms if limit.floor_ms else None
            rows.append(
                [Cell(f"{limit.precision}, ×{limit.batch}"), Cell(one.name), Cell(one.op), ms(one.flop / 1e6),
                 ms(one.bytes / 1e6), ms(one.floor_ms), share(part), Cell(one.bound)]
            )  # fmt: skip
    return table(header, rows)


def scaling(result: Result) -> str:
    names = Names(result)
    header = ["model", "subject", "along", "at", "value", "unit", "knee"]
    rows = [
        [Cell(names.model(p.subject)), Cell(names.short(p.subject)), Cell(p.x_unit), Cell(significant(p.x), p.x),
         ms(p.y), Cell(p.y_unit), Cell(significant(p.knee), p.knee)]
        for p in result.scaling
    ]  # fmt: skip
    return table(header, rows, models=[names.model(p.subject) for p in result.scaling])


def predictions(result: Result) -> str:
    header = ["device", "model", "precision", "batch", "predicted ms", "low", "high", "faces/s", "basis"]
    rows = [
        [Cell(p.device), Cell(p.model), Cell(p.precision), Cell(str(p.batch), p.batch), ms(p.ms), ms(p.low_ms),
         ms(p.high_ms), amount(1e3 * p.batch / p.ms), Cell(p.basis, kind="wrap quiet")]
        for p in result.predictions
    ]  # fmt: skip
    return table(header, rows, models=[p.model for p in result.predictions])


def missing(result: Result) -> str:
    rows = [[Cell(one.what, kind="wrap"), Cell(one.reason, kind="wrap")] for one in result.missing]
    return table(["what", "why"], rows)


def models(result: Result) -> str:
    header = ["model", "file", "from", "inputs", "SHA-256"]
    rows = [
        [Cell(m.name), Cell(m.file), Cell(SOURCES[m.source]), Cell(", ".join(f"{n}: {t}" for n, t in m.inputs.items())),
         Cell(f"{m.sha256[:16]}…", kind="quiet")]
        for m in result.models
    ]  # fmt: skip
    return table(header, rows, models=[m.name for m in result.models])


def _rate(name: str, value: float) -> str:
    """ "copy_gb_s", 4.62 as "copy 4.62 GB/s"."""
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    return f"{name.removesuffix(suffix).replace('_', ' ')} {significant(value)} {UNITS.get(suffix, '')}".rstrip()


def machine_facts(result: Result) -> list[tuple[str, str]]:
    machine, gpu, jetson = result.conditions.machine, result.conditions.gpu, result.conditions.jetson
    probe = result.conditions.probe
    rows = [
        ("Processor", f"{machine.cpu}, {machine.cores} cores, threads a core: {machine.threads_per_core}"),
        ("Memory", f"{machine.memory_mib / 1024:.1f} GiB"),
        ("Clock governor", machine.governor or "not told by the system"),
        ("Load", f"{machine.load_before:.2f} before, {machine.load_after:.2f} after"),
        ("System", f"{machine.system}, {machine.python if 'ython' in machine.python else f'Python {machine.python}'}"),
        ("Probe", ", ".join(_rate(name, value) for name, value in probe.items() if value is not None)),
    ]
    if gpu:
        clocks = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in gpu.clocks_mhz.items())
        memory = f"{gpu.memory_mib / 1024:.0f} GiB"
        rows += [("GPU", f"{gpu.name}, {gpu.sm}, {memory}"), ("Driver", f"{gpu.driver}, CUDA {gpu.cuda}")]
        rows += [("GPU clocks", clocks), ("Throttled by", ", ".join(gpu.throttle)), *sorted(gpu.more.items())]
    if jetson:
        rows += [("Board", jetson.model), ("JetPack", jetson.jetpack or ""), ("Power mode", jetson.nvpmodel or "")]
        rows += [("jetson_clocks", {True: "on", False: "off", None: ""}[jetson.jetson_clocks])]
        rows += sorted(jetson.more.items())
    return rows


def run_facts(result: Result) -> list[tuple[str, str]]:
    power = result.conditions.power
    rows = [("Started", result.started), ("Finished", result.finished)]
    rows += [(name, version) for name, version in sorted(result.conditions.libraries.items())]
    if power:
        watts = [("mean", power.mean_w), ("idle", power.idle_w)]
        told = ", ".join(f"{name} {significant(value)} W" for name, value in watts if value is not None)
        rows += [("Power", f"{told} ({power.source})".strip()), *sorted(power.more.items())]
    return rows
