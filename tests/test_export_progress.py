"""Stages with an honest ETA for people and programs, and TensorRT's phases or log lines as one fraction."""

import io
import json

import pytest

from export.progress import Progress, Stage
from export.watch import Watch

STAGES = [Stage("read", 1.0), Stage("build", 8.0), Stage("save", 1.0)]


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def make(kind, terminal=False):
    out, err, clock = io.StringIO(), io.StringIO(), Clock()
    err.isatty = lambda: terminal
    return Progress(STAGES, kind=kind, out=out, err=err, clock=clock), out, err, clock


def events(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_are_the_contracts():
    progress, out, err, clock = make("json")
    progress.stage("read")
    clock.now_s += 2
    progress.stage("build")
    clock.now_s += 4
    progress.fraction(0.25)
    progress.say("half of\nthe way")
    progress.layers("for people", [{"name": "stem", "asked": "fp16", "found": "fp16"}])
    progress.stage("save")
    progress.done("x.engine", {"precision": "fp16"})
    progress.close()
    assert events(out) == [
        {"event": "stage", "name": "read", "index": 1, "of": 3, "eta_s": 10.0},
        {"event": "stage", "name": "build", "index": 2, "of": 3, "eta_s": 18.0},  # twice as slow as thought
        {"event": "progress", "name": "build", "fraction": 0.25, "eta_s": 14.0},
        {"event": "note", "text": "half of\nthe way"},
        {"event": "layers", "layers": [{"name": "stem", "asked": "fp16", "found": "fp16"}]},
        {"event": "stage", "name": "save", "index": 3, "of": 3, "eta_s": 0.7},
        {"event": "done", "engine": "x.engine", "manifest": {"precision": "fp16"}},
    ]
    assert err.getvalue() == ""


def test_progress_is_told_now_and_then_and_never_goes_back():
    progress, out, _, clock = make("json")
    progress.stage("build")
    for fraction in (0.1, 0.2, 0.3):
        clock.now_s += 0.2
        progress.fraction(fraction)
    clock.now_s += 1
    progress.fraction(0.05)
    clock.now_s += 1
    progress.fraction(7.0)
    assert [one["fraction"] for one in events(out)[1:]] == [0.3, 0.3, 1.0]


def test_lines_for_people():
    progress, out, err, clock = make("text")
    progress.stage("read")
    clock.now_s += 1
    progress.say("a table")
    progress.stage("build")
    for _ in range(12):
        clock.now_s += 1
        progress.fraction(0.5)
    progress.stage("save")
    progress.done("x.engine", {})
    lines = ["[1/3] read, about 10 s left", "a table", "[2/3] build, about 9 s left"]
    lines += ["[2/3] build 50 %, about 11 s left", "[3/3] save, about 1 s left"]
    assert err.getvalue().splitlines() == lines and out.getvalue() == ""


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind():
    progress, _, err, clock = make("text", terminal=True)
    progress.stage("build")
    clock.now_s += 3
    progress.fraction(0.5)
    assert err.getvalue().endswith("\r\x1b[K[2/3] build                    [##########..........] 0:03 left")
    progress.say("a table")
    progress.close()
    assert err.getvalue().endswith("\r\x1b[Ka table\n")


def test_quiet_says_nothing():
    progress, out, err, clock = make("quiet", terminal=True)
    progress.stage("read")
    clock.now_s += 9
    progress.fraction(0.5)
    progress.say("a table")
    progress.done("x", {})
    assert out.getvalue() == err.getvalue() == ""


@pytest.mark.parametrize("name", ["read", "unknown"])
def test_stages_out_of_order_are_our_mistake(name):
    progress, *_ = make("quiet")
    progress.stage("build")
    with pytest.raises(AssertionError):
        progress.stage(name)


def watch(layers=10):
    told, log = [], []
    return Watch(layers, on_progress=told.append, on_log=lambda *message: log.append(message)), told, log


def test_nested_phases_are_one_fraction():
    one, told, _ = watch()
    one.start("engine", None, 4)
    assert one.step("engine", 1) and one.fraction == 0.25
    one.start("timing", "engine", 10)
    one.step("timing", 5)
    assert one.fraction == pytest.approx(0.25 + 0.5 / 4)
    one.finish("timing")
    one.step("engine", 4)
    assert one.fraction == 0.75, "the last step is done when the phase ends"
    one.finish("engine")
    one.tell()
    assert told == [1.0] and one.monitored


def test_without_a_monitor_the_log_is_counted():
    one, told, log = watch(layers=4)
    one.tell()
    for number in range(4):
        one.hear("VERBOSE", f"=============== Computing costs for conv{number}")
    one.tell()
    one.hear("INFO", "done")
    one.tell()
    assert told[0] == 0.0 < told[1] == told[2] < 1.0 and told[1] > 0.8
    assert [text for _, text in log] == [*(f"=============== Computing costs for conv{n}" for n in range(4)), "done"]
    assert one.text().endswith("conv3\ndone") and not one.monitored


def test_a_log_that_nobody_reads_is_not_kept():
    one = Watch(4, keep=False, on_progress=lambda fraction: None)
    one.hear("VERBOSE", "=============== Computing costs for conv1")
    assert one.text() == "" and one.fraction > 0


def test_a_cancelled_build_is_told_so_at_its_next_step():
    one, *_ = watch()
    assert one.step("engine", 1)
    one.cancel()
    assert not one.step("engine", 2)
