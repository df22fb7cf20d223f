"""A network that nobody has trained, as ONNX, for measuring its speed: `python -m export.untrained jasrnet -o FILE`.

The weights are the network's own start from a fixed seed. A time does not depend on what weights say; pictures do.
"""

import argparse
import sys
from pathlib import Path

import torch

from export.to_onnx import export_graph, write
from sdk.errors import FaceTRTError, ModelError
from training.models import CONFIGS, MODELS

NOTES = "untrained: for measuring speed, its pictures mean nothing"


def untrained(name: str, path: Path) -> None:
    """Writes the network of configuration `name`. Raises ModelError for an unknown name, OutputError."""
    if name not in CONFIGS:
        raise ModelError(f"a network among {', '.join(CONFIGS)}", repr(name), "check the spelling")
    config = CONFIGS[name]
    model_type = next(one for one in MODELS.values() if one.config_type is type(config))
    torch.manual_seed(0)
    model = model_type(config).eval()
    spec = model.spec(name, notes=NOTES)
    write(export_graph(model.folded() if hasattr(model, "folded") else model, spec), path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.untrained", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of training.models.CONFIGS")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        untrained(options.name, options.out)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
