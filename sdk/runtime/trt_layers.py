"""What a builder is told layer by layer: which run on a DLA, and, for TensorRT 8.5 and 8.6, in which precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdk.errors import BuildError
from sdk.runtime.trt_api import TensorRT

__all__ = ["set_layer_precisions", "use_dla"]

FLAG_PRECISIONS = {"fp16": "HALF", "fp32": "FLOAT"}  # word -> member of trt.DataType; int8 follows from Q/DQ


def use_dla(
    trt: TensorRT,
    builder: Any,  # trt.Builder
    *,
    network: Any,  # trt.INetworkDefinition
    config: Any,  # trt.IBuilderConfig
    core: int,
    gpu_fallback: bool,
) -> tuple[str, ...]:
    """Put all that fits on a DLA core; names of the layers that do not fit. Raises BuildError."""
    trt.need("dla")
    cores = int(builder.num_DLA_cores)
    if not 0 <= core < cores:
        got = f"core {core} on a device with {cores}"
        raise BuildError("a DLA core of this device", got, "leave out --dla-core; Orin NX and AGX Orin have two")
    config.default_device_type = trt.module.DeviceType.DLA
    config.DLA_core = core
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    outside = tuple(str(layer.name) for layer in layers if not config.can_run_on_DLA(layer))
    if outside and not gpu_fallback:
        got = f"{len(outside)} that it does not: {', '.join(outside[:5])}{', ...' if len(outside) > 5 else ''}"
        raise BuildError("a graph whose layers all run on the DLA", got, "add --gpu-fallback")
    if gpu_fallback:
        config.set_flag(trt.module.BuilderFlag.GPU_FALLBACK)
    return outside


def set_layer_precisions(
    trt: TensorRT,
    network: Any,  # trt.INetworkDefinition
    *,
    config: Any,  # trt.IBuilderConfig
    flags: Sequence[str],  # "fp16", "int8": what the builder may use
    precisions: Mapping[str, str],  # layer -> key of FLAG_PRECISIONS
    fp32_from: str = "",  # how a layer's name begins; it and all behind it are fp32
) -> None:
    """8.5 and 8.6: allow the precisions by flag, tell each layer its own, and have that obeyed.

    `fp32_from` goes by position, since the parser gives the layers that it adds on its own (a broadcast, the `or` of
    GreaterOrEqual) other names than their node's.
    """
    members = trt.module.BuilderFlag
    for word, feature in (("fp16", "fp16_flag"), ("int8", "int8_flag")):
        if word in flags:
            trt.need(feature)
            config.set_flag(getattr(members, word.upper()))
    if not precisions:
        return
    trt.need("obey")
    config.set_flag(members.OBEY_PRECISION_CONSTRAINTS)
    types = {word: getattr(trt.module.DataType, member) for word, member in FLAG_PRECISIONS.items()}
    behind = False
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        behind = behind or (bool(fp32_from) and str(layer.name).startswith(fp32_from))
        word = precisions.get(str(layer.name))
        if behind:
            _pin_fp32(trt, layer)
        elif word in types:
            layer.precision = types[word]


def _pin_fp32(
    trt: TensorRT,
    layer: Any,  # trt.ILayer
) -> None:
    """Compute in fp32, and write fp32 where floats are written. Shapes, indices, constants and casts have no say in it,
    and the cast to uint8 reads what the layer before it writes."""
    kinds = trt.module.DataType
    floats = (kinds.FLOAT, kinds.HALF)
    sources = [layer.get_input(index) for index in range(layer.num_inputs)]
    targets = [layer.get_output(index) for index in range(layer.num_outputs)]
    reads = any(tensor is not None and tensor.dtype in floats for tensor in sources)
    if reads and all(tensor.dtype in (*floats, kinds.BOOL) for tensor in targets):
        layer.precision = kinds.FLOAT
        for index, tensor in enumerate(targets):
            if tensor.dtype in floats:
                layer.set_output_type(index, kinds.FLOAT)
