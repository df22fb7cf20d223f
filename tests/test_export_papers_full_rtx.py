"""The papers' networks at full size as TensorRT-RTX engines: minutes each, so only where FACETRT_SLOW is set.

    FACETRT_SLOW=1 python -m pytest tests/test_export_papers_full_rtx.py

benchmarks/results/papers_rtx.json holds what such a run found; the narrow ones of test_export_papers_rtx.py run always.
"""

import json
import os

import pytest

from export.papers_rtx import NETWORKS, PRECISIONS, RESULTS, built, main
from sdk.errors import InputError
from sdk.zoo import PAPERS

# torch's exporter and onnx's own helpers warn of their own deprecations
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
slow = pytest.mark.skipif(not os.environ.get("FACETRT_SLOW"), reason="takes minutes; set FACETRT_SLOW=1 to run it")


@slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_full_sized_network_becomes_an_engine(name, precision, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    row = built(name, precision, folder=tmp_path, targets=("sm_89",))
    assert row["layers"].get(precision, 0) > 0 and set(row["layers"]) <= {"fp16", precision}


def test_networks_have_names_of_recipes():
    assert set(NETWORKS) <= set(PAPERS)


def test_an_unknown_network(tmp_path, capsys):
    with pytest.raises(InputError, match="networks of jasrnet, .*; got 'jasper'"):
        built("jasper", "fp16", folder=tmp_path)
    assert main(["jasper", "--json", str(tmp_path / "r.json")]) == 1
    assert "jasper in int8: expected networks of" in capsys.readouterr().err and not (tmp_path / "r.json").exists()


def test_recorded_builds_are_in_the_types_that_were_asked_for():
    rows = json.loads(RESULTS.read_text())["results"]
    assert rows and {row["model"] for row in rows} <= set(NETWORKS)
    for row in rows:
        assert row["layers"].get(row["precision"], 0) > 0 and set(row["layers"]) <= {"fp16", row["precision"]}
