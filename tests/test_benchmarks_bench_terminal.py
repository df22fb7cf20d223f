"""benchmarks.bench.terminal, csv_table, labels, text_columns: wording by eye, widths kept, hostile names harmless."""

import csv
import dataclasses
import io

import bench_example
import numpy as np
import pytest

from benchmarks.bench import labels
from benchmarks.bench.csv_table import COLUMNS, to_csv, write_csv
from benchmarks.bench.labels import grouped, percent, shortened, significant
from benchmarks.bench.results import Target
from benchmarks.bench.terminal import table
from sdk.errors import OutputError


@pytest.mark.parametrize(
    ("value", "text"),
    [(9.996, "10.0"), (0.01234, "0.0123"), (123.4, "123"), (12345, "12300"), (0, "0"), (None, "–"), (-3.3333, "-3.33"),
     (5, "5.00"), (1e-9, "1e-09"), (1e300, "1e+300"), (float("inf"), "inf"), (0.9996, "1.00")],
)  # fmt: skip
def test_three_digits(value, text):
    assert significant(value) == text


def test_three_digits_are_within_half_a_percent():
    for value in np.geomspace(1e-5, 1e11, 400):
        assert float(significant(value)) == pytest.approx(value, rel=5.1e-3)


def test_other_numbers_by_eye():
    assert [grouped(value) for value in (1234567, 12.3, None)] == ["1,230,000", "12.3", "–"]
    assert [percent(value) for value in (0.5, 0.0123, 1.01, None)] == ["50 %", "1.2 %", "101 %", "–"]
    assert [shortened("abcdefghij", n) for n in (10, 9, 5, 1)] == ["abcdefghij", "abcd…ghij", "ab…ij", "…"]
    assert labels.printable("a\x1b[31mb\u202ec\n") == "a?[31mb?c?"


def test_names_hold_what_distinguishes():
    result = bench_example.result()
    names = labels.Names(result)
    assert names.short("jasrnet/onnxruntime-cpu/int8/sdk/end-to-end") == "sdk, int8"
    other = dataclasses.replace(result.subjects[0], id="x", backend="tensorrt", span="engine")
    both = labels.Names(dataclasses.replace(result, subjects=(*result.subjects, other)))
    assert both.short("x") == "sdk, tensorrt, fp32, engine"
    assert both.short("picoface_x8/onnxruntime-cpu/int8/sdk/end-to-end") == "sdk, int8"
    step = dataclasses.replace(result.subjects[1], id="y", way="face-by-face", span="stage:decode+paste")
    with_step = dataclasses.replace(result, subjects=(*result.subjects, step))
    assert labels.Names(with_step).short("y") == "face-by-face, fp32, decode+paste"


def test_targets_by_eye():
    ratio = bench_example.result().ratios[0]
    assert labels.target(ratio) == "≥ 1.50×: met"
    added = dataclasses.replace(ratio, target=Target("difference_ms", "most", 0.8), met=False)
    assert labels.target(added) == "≤ 0.80 ms: missed"
    assert labels.target(dataclasses.replace(ratio, target=None)) == "–"


def test_the_limit_is_of_the_same_batch_and_precision():
    result = bench_example.result()
    one = result.measurements[0]
    limit = result.models[0].limits[0]
    assert labels.share_of_limit(result, one) == pytest.approx(limit.floor_ms / one.latency_ms.p50)
    assert labels.share_of_limit(result, dataclasses.replace(one, batch=3)) is None
    assert labels.share_of_limit(result, result.measurements[-1]) is None  # failed


def test_the_report_by_eye():
    lines = table(bench_example.result(), width=160).splitlines()
    assert lines[0] == "picoface_x8"
    titles = "subject, scenario, batch, p50 ms, p90 ms, p99 ms, p99.9 ms, max ms, faces/s, queries/s held, of limit"
    assert " ".join(lines[1].split()) == f"{titles}, MiB, samples, note".replace(",", "")
    assert lines[2].split()[:5] == ["sdk,", "fp32", "SingleStream", "1", "2.92"]
    text = "\n".join(lines)
    assert "Failed: jasrnet, bare, int8, Offline, batch 256: out of memory" in text
    assert "picoface_x8, sdk, fp32: ms over faces a frame bends at 16.0" in text
    assert "Not measured: trtexec: not on PATH" in text and "Predicted, not measured" in text
    assert "1.88×  1.79 to 1.97" in text and "≤ 1.15×: missed" in text


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_lines_fit_the_terminal(width):
    for result in (bench_example.result(), bench_example.on_gpu(), bench_example.hostile(), bench_example.nothing()):
        assert max(map(len, table(result, width=width).splitlines())) <= width


def test_narrow_terminals_keep_median_and_lose_the_tail():
    text = table(bench_example.result(), width=60)
    assert "p50 ms" in text and "p99.9 ms" not in text


def test_colour_is_asked_for_and_names_cannot_bring_their_own():
    assert "\x1b" not in table(bench_example.result(), width=80)
    assert "\x1b[31m" in table(bench_example.result(), width=80, colour=True)
    result = bench_example.result()
    named = dataclasses.replace(result, missing=(dataclasses.replace(result.missing[0], reason="\x1b[2J"),))
    assert "\x1b" not in table(named, width=80)


def test_an_interrupted_run_says_so():
    assert table(bench_example.nothing(), width=80).splitlines()[-1] == "Incomplete: the run was interrupted."


def test_csv_is_read_back_with_the_same_numbers():
    result = bench_example.on_gpu()
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert len(rows) == len(result.measurements) and tuple(rows[0]) == COLUMNS
    for row, one in zip(rows, result.measurements, strict=True):
        assert (row["batch"], row["scenario"], row["error"]) == (str(one.batch), one.scenario, one.error or "")
        if one.latency_ms is not None:
            assert float(row["p99_9_ms"]) == one.latency_ms.p99_9 and float(row["joule_per_face"]) == 0.004
    assert rows[-1]["p50_ms"] == "" and rows[0]["frame_width_px"] == "1920"


def test_csv_gives_a_spreadsheet_no_formula():
    result = bench_example.result()
    first = dataclasses.replace(result.measurements[0], flags=("=cmd|' /C calc'!A0",))
    (row, *_) = csv.DictReader(io.StringIO(to_csv(dataclasses.replace(result, measurements=(first,)))))
    assert row["flags"].startswith("'=")
    rows = list(csv.DictReader(io.StringIO(to_csv(bench_example.hostile()))))
    assert rows[0]["model"] == bench_example.HOSTILE


def test_csv_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a CSV file to write; got .*; check folder and free space"):
        write_csv(bench_example.result(), tmp_path / "file" / "out.csv")
    write_csv(bench_example.result(), tmp_path / "folder" / "out.csv")
    assert (tmp_path / "folder" / "out.csv").read_bytes().count(b"\r\n") == len(bench_example.result().measurements) + 1


def test_what_a_ratio_means_for_us():
    result = bench_example.result()
    names = labels.Names(result)
    against_torch, _, against_bare, control = result.ratios[:4]
    assert labels.standing(against_torch, names) == ("ours is faster", "good")
    assert labels.standing(against_bare, names) == ("ours costs more", "bad")
    kept = dataclasses.replace(against_bare, met=True)
    assert labels.standing(kept, names) == ("ours costs more, within the target", "quiet")
    assert labels.standing(control, names) == ("no difference", "quiet")
    lost = dataclasses.replace(against_torch, ratio=0.8, low=0.7, high=0.9, verdict="slower", met=False)
    assert labels.standing(lost, names) == ("ours costs more", "bad")
    assert labels.standing(dataclasses.replace(against_bare, verdict="slower"), names)[0] == "ours is faster"


def test_names_of_ratios_leave_out_what_stands_above():
    result = bench_example.result()
    names = labels.Names(result)
    full = "SDK end to end over bare network, picoface_x8 fp32 on onnxruntime-cpu"
    ratio = dataclasses.replace(result.ratios[0], name=full)
    assert labels.ratio_name(ratio, names) == "SDK end to end over bare network, fp32"
    gain = dataclasses.replace(ratio, name="SDK in fp32 over SDK in int8, picoface_x8")
    assert labels.ratio_name(gain, names) == "SDK in fp32 over SDK in int8"
    assert labels.ratio_name(result.ratios[0], names) == "SDK against torch eager"


def test_flags_and_disturbances_in_short():
    assert labels.brief(("few samples: 8", "disturbed: x", "few samples: 9")) == "few samples, disturbed"
    assert labels.disturbance("disturbed: load") == labels.disturbance("load") == "Disturbed: load"
    assert [labels.mebibytes(value) for value in (0.0035, 12.34, 1234.5, None)] == ["0.0", "12.3", "1,234", "–"]
