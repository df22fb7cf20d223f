"""Optimisation profiles: which batches and sizes an engine takes, one profile for each range that it is tuned for."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from export.options import Options
from sdk.errors import InputError
from sdk.runtime.trt_builder import Profile
from sdk.spec import ModelSpec

__all__ = ["profiles_for"]

Shape = tuple[int, ...]
TRIPLE = "--min-shapes, --opt-shapes, --max-shapes"


def profiles_for(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    *,
    options: Options,
) -> list[Profile]:
    """Profiles for the graph's inputs, in the order of the options. Raises InputError for shapes it cannot take.

    From --batches: one profile for each, from one face to the batch, best at the batch. A network of any size gets
    all of --sizes in each profile (default: its nominal size and twice that, the two at which the SDK runs it).
    A DLA takes fixed shapes only: there each profile is one batch of one size.
    """
    inputs = _inputs(graph)
    if options.max_shapes:
        triples = zip(options.min_shapes, options.opt_shapes, options.max_shapes, strict=True)
        given = [_explicit(inputs, smallest, best=best, largest=largest) for smallest, best, largest in triples]
        return _fixed(given) if options.dla_core is not None else given
    if options.sizes and not spec.any_size:
        got = f"--sizes {','.join(map(str, options.sizes))}"
        raise InputError(f"no --sizes for {spec.name}, which takes {spec.input_size} px only", got, "leave it out")
    name, dims = next(iter(inputs.items()))
    sides = sorted(options.sizes) or ([spec.input_size, 2 * spec.input_size] if spec.any_size else [spec.input_size])
    channels = dims[1] or spec.channels

    def shape(batch: int, side: int) -> Shape:
        return (batch, channels, side, side)

    if options.dla_core is not None:
        chosen = options.sizes or (spec.input_size,)
        fixed = [{name: shape(batch, side)} for side in chosen for batch in options.batches]
        return [_explicit(inputs, one, best=one, largest=one) for one in fixed]
    most = max(sides)
    triples = [(shape(1, min(sides)), shape(batch, most), shape(batch, most)) for batch in options.batches]
    return [_explicit(inputs, {name: low}, best={name: best}, largest={name: high}) for low, best, high in triples]


def _fixed(profiles: list[Profile]) -> list[Profile]:
    """The profiles, if they are what a DLA takes."""
    for profile in profiles:
        for name, triple in profile.items():
            if len(set(triple)) > 1:
                got = " / ".join("x".join(map(str, shape)) for shape in triple)
                raise InputError(f"one shape of {name} for a DLA", got, f"give the same to {TRIPLE}")
    return profiles


def _inputs(graph: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Input name -> sizes, None where they are free."""
    stored = {tensor.name for tensor in graph.graph.initializer}
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in graph.graph.input
        if value.name not in stored
    }


def _explicit(
    inputs: Mapping[str, tuple[int | None, ...]],
    smallest: Mapping[str, Shape],
    *,
    best: Mapping[str, Shape],
    largest: Mapping[str, Shape],
) -> Profile:
    for given in (smallest, best, largest):
        if set(given) != set(inputs):
            raise InputError(f"shapes for the inputs {sorted(inputs)}", f"{sorted(given)}", f"correct {TRIPLE}")
    for name, dims in inputs.items():
        triple = smallest[name], best[name], largest[name]
        for shape in triple:
            if len(shape) != len(dims) or any(want not in (None, have) for want, have in zip(dims, shape, strict=True)):
                wanted = "x".join("any" if size is None else str(size) for size in dims)
                raise InputError(f"a shape {wanted} for {name}", "x".join(map(str, shape)), f"correct {TRIPLE}")
        if not all(low <= middle <= high for low, middle, high in zip(*triple, strict=True)):
            got = " / ".join("x".join(map(str, shape)) for shape in triple)
            raise InputError(f"min <= opt <= max for {name}", got, f"correct {TRIPLE}")
    return {name: (smallest[name], best[name], largest[name]) for name in inputs}
