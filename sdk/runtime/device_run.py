"""One inference from arrays on the GPU to arrays on the GPU, for TrtBackend.run_device()."""

from __future__ import annotations

from collections.abc import Mapping

from sdk.errors import InputError
from sdk.runtime.interop import DeviceArray, from_device, stream_handle
from sdk.runtime.lane import Bucket, Lane
from sdk.runtime.profiles import Part, split
from sdk.runtime.trt_api import IoTensor

__all__ = ["borrow_input", "run"]

ALIGNMENT_BYTES = 256  # TensorRT wants its tensors to begin at multiples of this
MOST_UNDER_WAY = 16  # inferences enqueued and not done; beyond, the host waits for the oldest


def borrow_input(
    lane: Lane,
    batch: object,  # [N, C, h, w] on the GPU
    stream: object | None,
) -> DeviceArray:
    """The caller's array; work of the lane waits for its writer and for the caller's stream. Raises InputError."""
    lane.let_go(MOST_UNDER_WAY)
    if stream is not None:
        lane.stream.wait_for(stream_handle(stream))
    return from_device(batch, lane.engine.device, stream=lane.stream)


def run(
    lane: Lane, batch: DeviceArray, *, out: Mapping[str, object] | None, stream: object | None
) -> dict[str, DeviceArray]:
    """Enqueues the inference on the lane's stream and returns; see TrtBackend.run_device."""
    engine = lane.engine
    results: dict[str, DeviceArray] = {}
    for part in split(batch.shape, engine.profiles):
        bucket = lane.bucket(part, batch.shape[1:])
        if not results:
            results = _results(lane, bucket, batch.shape[0], out)
        addresses = {one.name: _address(lane, bucket, part, one, results.get(one.name)) for one in engine.outputs}
        addresses[engine.source.name] = _input(lane, bucket, part, batch)
        bucket.enqueue(addresses, fixed=False)
        for one in engine.outputs:
            array = results.get(one.name)
            target = 0 if array is None else array.pointer + part.start * bucket.row_bytes(one)
            if array is not None and addresses[one.name] != target:
                engine.device.copy(target, addresses[one.name], part.count * bucket.row_bytes(one), lane.stream)
    lane.keep(batch, *results.values())  # should the caller drop them at once
    if stream is not None:
        lane.stream.make_wait(stream_handle(stream))
    return results


def _results(lane: Lane, bucket: Bucket, faces: int, out: Mapping[str, object] | None) -> dict[str, DeviceArray]:
    """Where the wanted outputs go: new arrays, or the caller's after a look at them. Raises InputError."""
    engine = lane.engine
    unknown = sorted(set(out or ()) - set(engine.wanted))
    if unknown:
        raise InputError(f"out= among {list(engine.wanted)}", str(unknown), "leave the others out")
    results: dict[str, DeviceArray] = {}
    for one in engine.outputs:
        if one.name not in engine.wanted:
            continue
        shape = (faces, *bucket.output_shapes[one.name][1:])
        if out is None or one.name not in out:
            results[one.name] = DeviceArray.empty(engine.device, shape, one.dtype, stream=lane.stream)
            continue
        given = from_device(out[one.name], engine.device, stream=lane.stream, writable=True)
        if given.shape != shape or given.dtype != one.dtype:
            got = f"{given.dtype} {list(given.shape)}"
            raise InputError(f"an array {one.dtype} {list(shape)} for {one.name}", got, "leave it out for a new one")
        results[one.name] = given.written_on(lane.stream)
    return results


def _direct(part: Part, address: int) -> bool:
    return part.rows == part.count and address % ALIGNMENT_BYTES == 0


def _input(lane: Lane, bucket: Bucket, part: Part, batch: DeviceArray) -> int:
    """Where the part's input lies: in the caller's memory, or copied to the lane's for want of alignment or rows."""
    source, device = lane.engine.source, lane.engine.device
    row_bytes = bucket.row_bytes(source)
    address = batch.pointer + part.start * row_bytes
    if _direct(part, address):
        return address
    room = lane.room(bucket, source)
    device.copy(room, address, part.count * row_bytes, lane.stream)
    if part.rows > part.count:
        device.fill_zero(room + part.count * row_bytes, (part.rows - part.count) * row_bytes, lane.stream)
    return room


def _address(lane: Lane, bucket: Bucket, part: Part, tensor: IoTensor, array: DeviceArray | None) -> int:
    """Where the part's output shall go first: to its place, or to the lane's memory."""
    if array is not None:
        address = array.pointer + part.start * bucket.row_bytes(tensor)
        if _direct(part, address):
            return address
    return lane.room(bucket, tensor)
