"""benchmarks.bench_tables and benchmarks.bench.reporting: tables by eye, hostile names, pages from stored files."""

import dataclasses
import re

import bench_example
import pytest

from benchmarks import bench_tables, report
from benchmarks.bench import reporting
from benchmarks.bench.results import save


@pytest.fixture
def results(tmp_path):
    """A folder with one result."""
    folder = tmp_path / "results"
    save(bench_example.result(), folder / "bench_cpu.json")
    return folder


def rows_of(text: str) -> list[list[str]]:
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]


def test_the_headline_by_eye(results):
    lines = bench_tables.headline(results).splitlines()
    titles = ["network", "way", "precision", "one face, p50 ms", "p99 ms", "most faces/s", "at batch", "of the limit"]
    assert lines[0] == f"| {' | '.join(titles)} |"
    assert lines[2] == "| `picoface_x8` | sdk | fp32 | 2.92 | 4.75 | 510 | 64 | 68 % |" and len(lines[2:8]) == 6
    assert "Measured on AMD EPYC, 2 cores, 2026-01-05." in lines
    assert lines[-2] == bench_example.result().command


def test_the_matrix_holds_every_measurement_and_what_papers_print(results):
    text = bench_tables.matrix(results)
    assert len(rows_of(text)) == 2 + len(bench_example.result().measurements)
    assert "| 256 | – | – | – | – | – | out of memory |" in text and "Titan X" not in text
    result = bench_example.result()
    model = dataclasses.replace(result.models[0], name="fsrnet", source="paper")
    save(dataclasses.replace(result, models=(*result.models, model)), results / "bench_cpu.json")
    assert "* `fsrnet`: 12.0 ms on a Titan X (whole network, one face of 128 px)." in bench_tables.matrix(results)


def test_ratios_and_predictions_by_eye(results):
    assert (
        "| picoface_x8: SDK against bare | SingleStream | 8 | 1.22× | 1.19 to 1.26 | ± 1.2 % | – "
        "| 0.50 ms (0.40 to 0.62) | faster | ≤ 1.15×: missed |"
    ) in bench_tables.ratios(results)
    text = bench_tables.predictions(results)
    assert "| orin-nano | `picoface_x8` | fp16 | 1 | 1.82 | 1.64 to 2.00 | 549 |" in text
    assert "Predicted, not measured: roofline x 1.45, MLPerf." in text


def test_tables_are_registered_and_say_when_there_is_nothing(results, tmp_path):
    names = ("bench_headline", "bench_matrix", "bench_ratios", "bench_predictions")
    for name in names:
        assert report.GENERATORS[name](tmp_path / "empty").startswith("Not measured yet")
    save(bench_example.nothing(), results / "bench_cpu.json")
    assert all(report.GENERATORS[name](results).startswith("Not measured yet") for name in names)


def test_hostile_names_keep_the_tables_form(tmp_path):
    """One table of equal columns; outside code no tag, so that a page made of the Markdown shows text."""
    save(bench_example.hostile(), tmp_path / "bench_x.json")
    for table in (bench_tables.headline, bench_tables.matrix, bench_tables.ratios, bench_tables.predictions):
        text = table(tmp_path)
        prose = re.sub(r"`[^`]*`", "", text.partition("Made by:")[0])
        assert "<" not in prose and "\u202e" not in text
        assert len({line.count("|") for line in text.splitlines() if line.startswith("| ")}) <= 1
    piped = dataclasses.replace(bench_example.result().ratios[0], name="a|b`c")
    save(dataclasses.replace(bench_example.result(), ratios=(piped,)), tmp_path / "bench_x.json")
    assert "| a\\|b`c | SingleStream |" in bench_tables.ratios(tmp_path)


def test_report_makes_page_and_csv_from_the_newest_file(results, tmp_path, capsys):
    save(bench_example.result(days=-9), results / "bench_older.json")
    files = sorted(results.glob("*.json"))[::-1]
    page, csv = tmp_path / "page.html", tmp_path / "all.csv"
    assert reporting.command(files, html=page, csv=csv, documents=False) == 0
    assert capsys.readouterr().out == f"wrote {page}\nwrote {csv}\n"
    assert 'id="history"' in page.read_text() and "2026-01-05 09:30" in page.read_text()


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ([], {"html": "page.html"}, "expected result files to make the page or the CSV from; got none"),
        (["absent.json"], {"csv": "x.csv"}, "expected a readable result file"),
        (["bench_cpu.json"], {}, "expected what to make of the files; got neither --html nor --csv"),
    ],
)
def test_report_refuses_what_it_cannot_do(files, options, message, results, tmp_path, capsys):
    paths = {name: tmp_path / value for name, value in options.items()}
    assert reporting.command([results / name for name in files], **paths, documents=False) == 2
    assert message in capsys.readouterr().err
    assert not any(path.exists() for path in paths.values())


def test_report_brings_documents_up_to_date(results, tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("<!-- numbers:bench_headline -->\n<!-- /numbers -->\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "documents", lambda root=tmp_path: [root / "README.md"])
    monkeypatch.setattr(report, "update", lambda *, write, ours=report.update: ours(
        write=write, root=tmp_path, results=results))  # fmt: skip
    assert reporting.command([]) == 0 and capsys.readouterr().out == "wrote README.md\n"
    assert "| `jasrnet` | sdk | int8 |" in (tmp_path / "README.md").read_text()
    assert reporting.command([]) == 0 and capsys.readouterr().out == "documents are up to date\n"
