"""What lies in release/ belongs together: cards, graphs and weights of one making, within the size, each with a name.

The folder may be empty: networks get there by export.release. No picture is computed here; the command did that.
"""

import hashlib
import json
from pathlib import Path

from export.release import LIMIT_MB, SUFFIXES, sizes_of
from sdk.runtime.onnx_file import read_onnx
from sdk.zoo import CARD_KEY, PAPERS

FOLDER = Path(__file__).resolve().parents[1] / "release"


def cards():
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def test_all_together_within_the_limit():
    assert sum(sizes_of(FOLDER).values()) <= LIMIT_MB * 1e6


def test_every_network_has_its_three_files_and_nothing_else_lies_there():
    found = {path.name for path in FOLDER.iterdir()} if FOLDER.is_dir() else set()
    assert found == {f"{name}{suffix}" for name in cards() for suffix in SUFFIXES}
    assert set(cards()) <= set(PAPERS), "a name that FaceEnhancer explains"


def test_cards_graphs_and_weights_are_of_one_making():
    for name, card in cards().items():
        assert card[CARD_KEY] == 1 and card["name"] == name
        for file, told in card["files"].items():
            content = (FOLDER / file).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"]), file
        spec = read_onnx(FOLDER / f"{name}.onnx").spec  # which compares the weights' digest
        assert spec.name == name and spec.licence == card["licence"] != ""
        assert card["training"]["steps"] > 0 and card["verified"]["sdk_max"] <= 1e-4
