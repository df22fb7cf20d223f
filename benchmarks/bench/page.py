"""One self-contained HTML page from a result of trt-bench: plots, tables, conditions; it asks for nothing outside.

The page's own policy (Content-Security-Policy) refuses every request, and every script without this page's nonce, so
that a name which slipped through the escaping could still do nothing. Without a script the tables hold every number.
"""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.bench import labels
from benchmarks.bench.csv_table import to_csv
from benchmarks.bench.labels import printable
from benchmarks.bench.page_html import Figures, escaped, notice
from benchmarks.bench.page_sections import Page, sections
from benchmarks.bench.plots_latency import Palette
from benchmarks.bench.plotting import base_layout, check_plotting, packed_script
from benchmarks.bench.results import Result
from sdk.errors import OutputError

__all__ = ["check_plotting", "page", "write_page"]

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
"""
BAR = """<div class="bar"><div>
<nav aria-label="Sections">{links}</nav>
{choice}<button type="button" id="theme" class="scripted-only" title="light or dark">◐</button>
</div></div>
"""
END = """</main>
<footer><p>Made by trt-bench of facetrt {version}. {csv}</p></footer>
<script type="application/json" id="plots" nonce="{nonce}">{plots}</script>
<script type="text/plain" id="plotly" nonce="{nonce}">{plotly}</script>
<script id="own" nonce="{nonce}">
{script}
</script>
</body>
</html>
"""
UNPLOTTED = "The plots need a script and a browser of 2024 or newer; the tables hold the same numbers."


def page(result: Result, *, history: Sequence[Result] = ()) -> str:
    """The whole document. `history`: older results, in any order, for its plot. Raises MissingPackageError."""
    check_plotting()
    figures = Figures([])
    older = sorted(history, key=lambda one: one.started)
    made = sections(Page(result, older, Palette(result), figures))
    plots = _script_safe({"base": base_layout(), "plots": [plot.to_json() for plot in figures.plots]})
    body = "\n".join(html for _, _, html in made)
    nonce = base64.b64encode(hashlib.sha256((body + plots).encode()).digest()[:18]).decode()
    title = f"trt-bench: {', '.join(model.name for model in result.models) or 'no model'}"
    folder = files("benchmarks.bench")
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page_style.css", "page_script.js"))
    return "".join(
        [
            HEAD.format(policy=POLICY.format(nonce=nonce), title=escaped(title), style=style),
            _top(result),
            _bar(result, [(key, name) for key, name, _ in made]),
            f'<main>\n<noscript><div class="notice warn"><p>{UNPLOTTED}</p></div></noscript>\n'
            f'<div class="notice warn" id="no-plots" hidden><p>{UNPLOTTED}</p></div>\n{body or _nothing()}\n',
            END.format(
                version=escaped(result.facetrt), csv=_download(result), plots=plots, plotly=packed_script(),
                script=script, nonce=nonce,
            ),
        ]
    )  # fmt: skip


def _top(result: Result) -> str:
    conditions = result.conditions
    on = (
        conditions.jetson.model
        if conditions.jetson
        else conditions.gpu.name
        if conditions.gpu
        else conditions.machine.cpu
    )
    when = printable(result.started).replace("T", " ").removesuffix("Z")
    models = ", ".join(model.name for model in result.models)
    warnings = [] if result.complete else ["The run was interrupted: this page holds what had been measured by then."]
    failed = sum(one.error is not None for one in result.measurements)
    flagged = sum(bool(one.flags) for one in result.measurements)
    doubts = [labels.disturbance(text) for text in conditions.disturbances]
    if failed:
        doubts.append(f"{failed} of {len(result.measurements)} measurements failed; their notes say why.")
    if flagged:
        doubts.append(f"{flagged} of {len(result.measurements)} measurements carry a flag; see All numbers.")
    told = notice("bad", warnings) + notice("warn", doubts)
    return (
        f"<header><h1>{escaped(models or 'Nothing measured')}</h1>"
        f'<p class="lead">{escaped(on)} · {escaped(when)} UTC · facetrt {escaped(result.facetrt)}</p>'
        f'<code class="command">{escaped(result.command)}</code>{told}</header>\n'
    )


def _bar(result: Result, shown: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<a href="#{key}">{escaped(name)}</a>' for key, name in shown)
    names = [escaped(model.name) for model in result.models]
    options = "".join(f'<option value="{name}">{name}</option>' for name in names)
    every = '<option value="">all models</option>'
    choice = f'<select id="models" class="scripted-only" aria-label="model">{options}{every}</select>\n'
    return BAR.format(links=links, choice=choice if len(names) > 1 else "")


def _download(result: Result) -> str:
    content = base64.b64encode(to_csv(result).encode()).decode()
    return f'<a download="trt-bench.csv" href="data:text/csv;base64,{content}">All measurements as CSV</a>'


def _nothing() -> str:
    return "<section><h2>Nothing was measured</h2></section>"


def _script_safe(content: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (
        text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def write_page(result: Result, path: Path, *, history: Sequence[Result] = ()) -> None:
    """The page as a file, whole or not at all. Raises OutputError, MissingPackageError."""
    text, draft = page(result, history=history), path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise OutputError("a page to write", f"{path}: {error.strerror}", "check folder and free space") from error
