"""Which precision every layer of a built engine runs in, read back from the engine, and compared with what was asked.

Two sources say the same: the engine inspector's JSON (an engine on a GPU) and the table at the end of a detailed build
log (TensorRT-RTX on a machine without one). Both name the ONNX nodes that a layer was made of.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sdk.errors import BuildError

__all__ = ["Layer", "Loss", "Readback", "check_fp32", "compare", "explained_rows", "explanation", "found_layers"]

COMPUTE = re.compile(r"conv|correlation|gemm|matmul|matrixmultiply", re.IGNORECASE)  # kinds that do the arithmetic
FUSED = re.compile(
    r"__myl_\w*(Corr|Conv|Gemm|MatMul)"
)  # RTX's runtime_fusion: the name tells what it does, not the kind
ROW = re.compile(r"\s*Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), (?P<rest>Inputs: .*)")
LISTS = re.compile(r"(Inputs|Constants|Outputs): \[")
ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
PROFILE = re.compile(r"\s*\[profile \d+\]")
PRECISIONS = (  # what TensorRT's releases write -> our word; the first match decides
    (re.compile(r"\b(e4m3|fp8)", re.IGNORECASE), "fp8"),
    (re.compile(r"\bint8", re.IGNORECASE), "int8"),
    (re.compile(r"\b(half|fp16|float16)", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(bfloat16|bf16)", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE), "fp32"),
)
UNKNOWN = "unknown"
SUBGRAPHS = ("ForeignNode", "Myelin")  # many nodes behind the types of their edges
ON_DLA = "dla"  # a whole subgraph on the accelerator, which does not tell its layers' types
SHOWN = 5  # layers that an error names
READABLE = 0.5  # share of the asked layers that must be found, or the table is not one that we can read


@dataclass(frozen=True)
class Layer:
    """A fused layer of an engine; types are words of PRECISIONS, UNKNOWN for indices, shapes and the like."""

    name: str
    kind: str  # "CaskConvolution", "correlation", "kgen", ...
    inputs: tuple[str, ...]  # precision of each
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str
    nodes: tuple[str, ...]  # ONNX nodes in it

    @property
    def precision(self) -> str:
        """What it computes in: the type of its first input, else of its weights."""
        if "DLA" in self.kind.upper():
            return ON_DLA
        if self.kind in SUBGRAPHS:
            return UNKNOWN
        return next((word for word in (*self.inputs[:1], *self.constants[:1]) if word != UNKNOWN), UNKNOWN)


@dataclass(frozen=True)
class Readback:
    """The engine's precisions beside those asked for."""

    found: dict[str, int]  # precision -> number of asked layers that run in it
    layers: dict[str, str]  # asked layer -> precision found


def found_layers(text: str) -> list[Layer]:
    """Layers out of an inspector's JSON or a detailed build log. Raises BuildError when there are none."""
    start = text.lstrip()[:1]
    layers = _from_json(text) if start == "{" else _from_log(text)
    if not layers:
        got = f"none in {len(text)} characters of {'JSON' if start == '{' else 'log'}"
        raise BuildError("a table of the engine's layers", got, "report this with the output of --verbose")
    return layers


def compare(asked: Mapping[str, str], found: Sequence[Layer]) -> Readback:
    """Match asked layers (ONNX node -> "fp32" | "fp16" | "int8" | "fp8") with the engine's.

    Raises BuildError when one runs in another type than asked, or when most cannot be found.
    """
    by_node: dict[str, list[Layer]] = {}
    for layer in found:
        for node in layer.nodes:
            by_node.setdefault(node, []).append(layer)
    layers = {name: _precision(by_node.get(name, ())) for name in asked}
    counts = Counter(word for words in layers.values() for word in words)
    wrong = {n: sorted(words) for n, words in layers.items() if words - {asked[n], UNKNOWN, ON_DLA}}
    if wrong:
        some = ", ".join(f"{n} in {'/'.join(words)} instead of {asked[n]}" for n, words in list(wrong.items())[:SHOWN])
        got = f"{len(wrong)} of {len(asked)} in another type: {some}{', ...' if len(wrong) > SHOWN else ''}"
        raise BuildError("layers in the precision asked for", got, "use another TensorRT, or --keep-fp16")
    unread = [name for name, words in layers.items() if words == {UNKNOWN}]
    if len(unread) > (1 - READABLE) * len(asked):
        got = f"{len(unread)} of {len(asked)} layers are not in the engine's table, for example {unread[0]}"
        raise BuildError("an engine whose layers can be read back", got, "report this with the output of --verbose")
    words = {name: "/".join(sorted(found_words)) for name, found_words in layers.items()}
    return Readback(dict(sorted(counts.items())), words)


def check_fp32(found: Sequence[Layer], prefix: str) -> None:
    """The layers that are made of nodes of this name alone must write no narrower floats than fp32. Raises BuildError.

    What they read does not count: a cast of the network's fp16 may be fused into them.
    """
    ours = [layer for layer in found if layer.nodes and all(node.startswith(prefix) for node in layer.nodes)]
    wrong = [layer for layer in ours if set(layer.outputs) - {"fp32", UNKNOWN}]
    if wrong:
        words = "/".join(sorted({word for layer in wrong for word in layer.outputs} - {"fp32", UNKNOWN}))
        got = f"{len(wrong)} of {len(ours)} write {words}, for example {wrong[0].name}"
        raise BuildError(
            "landmarks and picture decoded in fp32", got, "build with --precision fp32, or another TensorRT"
        )


class Loss(Protocol):
    """What export.sensitivity tells of one layer."""

    name: str
    psnr_fp32_db: float
    dpsnr_db: float
    dnme_pt: float


LOSS_KEYS = ("psnr_fp32_db", "dpsnr_db", "dnme_pt")


def explanation(
    asked: Mapping[str, str],
    found: Mapping[str, str],  # layer -> precision read back
    losses: Sequence[Loss] = (),  # of each layer quantised alone; empty: not measured
) -> list[str]:
    """Lines for people, one a layer: asked, found, and what int8 in this layer alone costs."""
    width = max((len(name) for name in asked), default=5)
    alone = {loss.name: loss for loss in losses}
    head = f"{'layer':{width}}  asked  found"
    rows: list[str] = []
    for name, precision in asked.items():
        row = f"{name:{width}}  {precision:5}  {found[name]:5}"
        if name in alone:
            loss = alone[name]
            row += f"  {loss.psnr_fp32_db:7.1f} dB  {loss.dpsnr_db:+8.3f} dB  {loss.dnme_pt:+8.3f} pt"
        rows.append(row.rstrip())
    if losses:
        head += "  against fp32  PSNR lost    NME lost   (this layer alone in int8)"
    return [head, *rows]


def explained_rows(
    asked: Mapping[str, str],
    found: Mapping[str, str],
    losses: Sequence[Loss] = (),
) -> list[dict[str, Any]]:
    """The same for programs: a dict a layer, with the numbers of LOSS_KEYS where it was measured; None: not finite."""
    alone = {loss.name: {key: float(getattr(loss, key)) for key in LOSS_KEYS} for loss in losses}
    return [
        {
            "name": name,
            "asked": precision,
            "found": found[name],
            **{key: n if math.isfinite(n) else None for key, n in alone.get(name, {}).items()},
        }
        for name, precision in asked.items()
    ]


def _precision(layers: Iterable[Layer]) -> set[str]:
    """Precisions of the layers that hold a node: of those that compute, if there are such."""
    layers = list(layers)
    computing = [layer for layer in layers if COMPUTE.search(layer.kind) or FUSED.match(layer.name)]
    words = {layer.precision for layer in computing or layers}
    return (words - {UNKNOWN}) or {UNKNOWN}


def _word(text: str) -> str:
    return next((word for pattern, word in PRECISIONS if pattern.search(text)), UNKNOWN)


def _from_json(text: str) -> list[Layer]:
    try:
        parsed: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise BuildError("the inspector's layers as JSON", str(error), "report this with --verbose") from error
    rows = [row for row in parsed.get("Layers", []) if isinstance(row, dict)]  # plain names: not built in detail
    return [_layer_of(row) for row in rows]


def _layer_of(
    row: Mapping[str, Any],  # one entry of "Layers"
) -> Layer:
    def types(key: str) -> tuple[str, ...]:
        tensors = row.get(key) or []
        texts = [f"{t.get('Datatype', '')} {t.get('Format/Datatype', '')}" for t in tensors if isinstance(t, dict)]
        return tuple(_word(text) for text in texts)

    weights = row.get("Weights")
    constants = types("Constants") or ((_word(str(weights.get("Type", ""))),) if isinstance(weights, dict) else ())
    name = str(row.get("Name", ""))
    kind = f"{row.get('LayerType', '')} {row.get('ParameterType', '')}".strip()
    nodes = _nodes(name, str(row.get("Metadata", "")))
    return Layer(name, kind, types("Inputs"), constants, types("Outputs"), str(row.get("TacticName", "")), nodes)


def _from_log(text: str) -> list[Layer]:
    layers: list[Layer] = []
    for line in text.rpartition("Layers:\n")[2].splitlines():
        match = ROW.match(line)
        if match is None:
            continue
        types = {"Inputs": (), "Constants": (), "Outputs": ()} | _lists(match["rest"])
        tactic = re.search(r"TacticName: ([^,]*)", match["rest"])
        metadata = line.rpartition("Metadata: ")[2]
        layers.append(
            Layer(
                name=match["name"],
                kind=match["kind"],
                inputs=types["Inputs"],
                constants=types["Constants"],
                outputs=types["Outputs"],
                tactic=tactic[1] if tactic else "",
                nodes=_nodes(match["name"], metadata),
            )
        )
    return layers


def _lists(text: str) -> dict[str, tuple[str, ...]]:
    """Precisions of the tensors in "Inputs: [...], Constants: [...], Outputs: [...]" of a log's row."""
    found = list(LISTS.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[1]: tuple(_word(word) for word in re.findall(r"Datatype: (\w+)", text[match.end() : end]))
        for match, end in zip(found, ends, strict=True)
    }


def _nodes(name: str, metadata: str) -> tuple[str, ...]:
    """ONNX nodes of a layer: its metadata names them; before 8.6 only its name does ("a + b + PWN(c)")."""
    named = ONNX_NAME.findall(metadata)
    if named:
        return tuple(dict.fromkeys(named))
    parts = PROFILE.sub("", name).replace("PWN(", "").replace(")", "").split("+")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
