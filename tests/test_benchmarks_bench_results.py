"""The result file: what is written is read again, and what cannot be is refused with three parts."""

import dataclasses
import json

import pytest

from benchmarks.bench import results as r
from sdk.errors import InputError, OutputError

LATENCY = r.Latency(mean=1.2, p50=1.0, p90=2.0, p99=3.0, p99_9=3.0, max=4.0)
SUBJECT = r.Subject("m/onnxruntime-cpu/fp32/bare/engine", "m", "onnxruntime-cpu", "fp32", "bare", "engine")
MEASUREMENT = r.Measurement(
    subject=SUBJECT.id,
    scenario="Offline",
    batch=8,
    faces=8,
    frame_hw=(1080, 1920),
    threads=1,
    samples=3,
    duration_s=0.004,
    latency_ms=LATENCY,
    histogram=r.Histogram((0.5, 1.5, 4.5), (2, 1)),
    windows_p50_ms=(1.0, 1.1),
    faces_per_s=2000.0,
)
MACHINE = r.Machine("a CPU", 2, 1, 8000, None, 0.1, 0.2, "Linux", "3.11.0")
LIMIT = r.Limit("onnxruntime-cpu", "fp32", 8, 1, 1, 1, "compute", (r.Layer("a", "Conv", 1, 1, 1, "launch"),))
RESULT = r.Result(
    command="trt-bench m",
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:01:00Z",
    complete=True,
    facetrt="1",
    source=None,
    conditions=r.Conditions(MACHINE, samples=({"t_s": 0.0, "load": 1.0},), probe={"int8_gop_s": None}),
    models=(
        r.Model(
            "m",
            "m.onnx",
            "0" * 64,
            "foreign",
            limits=(LIMIT,),
        ),
    ),
    subjects=(SUBJECT,),
    measurements=(MEASUREMENT,),
    cold=(r.Cold(SUBJECT.id, 1, 2, 3, 4),),
    ratios=(
        r.Ratio(
            "A/A", SUBJECT.id, SUBJECT.id, "Offline", 8, 1, 0.9, 1.1, 0.95, 0.1, "no difference", 3,
            target=r.Target("ratio", "most", 1.03), met=True,
        ),
    ),
    scaling=(r.ScalingPoint("faces", SUBJECT.id, 1, 2, "faces", "ms", knee=None),),
    predictions=(r.Prediction("orin-nano", "m", "fp16", 1, 1, 0.9, 1.1, "model"),),
    missing=(r.Missing("tensorrt", "no GPU"),),
)  # fmt: skip


def changed(**fields):
    return {**json.loads(r.to_json(RESULT)), **fields}


def read(values):
    return r.from_json(json.dumps(values), origin="x.json")


def test_a_file_gives_back_what_was_saved(tmp_path):
    again = r.from_json(r.to_json(RESULT))
    assert r.from_json(r.to_json(again)) == again == RESULT
    path = tmp_path / "deep" / "x.json"
    r.save(RESULT, path)
    assert r.load(path) == again and list(path.parent.iterdir()) == [path]


def test_fields_with_a_default_may_be_absent():
    values = changed()
    for name in ("scaling", "predictions"):
        del values[name]
    assert read(values).scaling == ()


@pytest.mark.parametrize(
    ("schema", "got"),
    [
        ("facetrt.bench/2", "newer"),
        ("facetrt.bench/999999999999999999999", "newer"),
        ("facetrt.bench/0", "older"),
        ("facetrt.bench/-1", "'facetrt.bench/-1'"),
        ("facetrt.bench/\u00b2", "bench"),
        ("other/1", "other"),
        ("", "''"),
        (None, "none"),
        (1, "none"),
    ],
)
def test_other_schemas_are_refused(schema, got):
    with pytest.raises(InputError) as caught:
        read(changed(schema=schema))
    assert got in caught.value.got and "facetrt.bench/1" in caught.value.expected


def test_an_older_schema_is_migrated_where_a_step_is_known(monkeypatch):
    monkeypatch.setitem(r.MIGRATIONS, 0, lambda values: {**values, "complete": True})
    values = changed(schema="facetrt.bench/0")
    del values["complete"]
    assert read(values).complete


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"surprise": 1}, "fields among"),
        ({"complete": 1}, "true or false at x.json.complete"),
        ({"command": None}, "a text at x.json.command"),
        ({"measurements": {}}, "a list at x.json.measurements"),
        ({"measurements": [1]}, "an object at x.json.measurements[0]"),
        ({"missing": [{"what": "a"}]}, "the fields reason at x.json.missing[0]"),
        ({"subjects": []}, "a subject of measurements"),
        ({"models": []}, "the model of subject"),
        ({"subjects": changed()["subjects"] * 2}, "subjects of different names"),
        ({"predictions": [{**changed()["predictions"][0], "low_ms": 2}]}, "low <= ms"),
        ({"ratios": [{**changed()["ratios"][0], "low": 2}]}, "low <= high"),
        ({"ratios": [{**changed()["ratios"][0], "verdict": "great"}]}, "verdict of"),
        ({"scaling": [{**changed()["scaling"][0], "kind": "mood"}]}, "kind of scaling"),
    ],
)
def test_what_cannot_be_is_refused(fields, expected):
    with pytest.raises(InputError) as caught:
        read(changed(**fields))
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scenario": "singlestream"}, "scenario of"),
        ({"latency_ms": None}, "either latency_ms or error"),
        ({"error": "out of memory"}, "either latency_ms or error"),
        ({"samples": 0}, "samples and a duration"),
        ({"samples": 2.5}, "a whole number"),
        ({"samples": True}, "a whole number"),
        ({"batch": -1}, "batch and faces"),
        ({"duration_s": 10**400}, "a finite number"),
        ({"frame_hw": [1]}, "2 items"),
        ({"windows_p50_ms": ["1"]}, "a number at"),
        ({"histogram": {"edges_ms": [1, 0, 2], "counts": [2, 1]}}, "rising edges"),
        ({"histogram": {"edges_ms": [0, 1, 2], "counts": [2, 2]}}, "counts that add up"),
        ({"latency_ms": {**dataclasses.asdict(LATENCY), "p50": 9.0}}, "p50 <= p90"),
        ({"server": {"target_ms": 1, "rate_per_s": None, "tried": []}}, "in scenario Server alone"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(fields, expected):
    with pytest.raises(InputError) as caught:
        read(changed(measurements=[{**changed()["measurements"][0], **fields}]))
    assert expected in caught.value.expected


def test_nan_is_never_written():
    bad = dataclasses.replace(MEASUREMENT, faces_per_s=float("nan"))
    with pytest.raises(InputError, match="finite"):
        r.to_json(dataclasses.replace(RESULT, measurements=(bad,)))
    with pytest.raises(InputError, match="finite"):
        r.from_json(r.to_json(RESULT).replace("2000.0", "NaN"))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100000, "\x00", "3"])
def test_other_files_are_refused(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError):
        r.load(path)


def test_a_file_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InputError, match="readable"):
        r.load(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="readable"):
        r.load(tmp_path / "b.json")
    (tmp_path / "f").write_text("")
    with pytest.raises(OutputError, match="result file"):
        r.save(RESULT, tmp_path / "f" / "x.json")
