"""Launchers of kernels/crop_norm.cu: faces of a frame on the GPU to the network's input on the GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.image.pixels import YCBCR_FROM_RGB, YCBCR_OFFSET
from sdk.runtime.device import Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_args import CropNormArgs
from sdk.runtime.kernel_checks import Arguments
from sdk.runtime.kernel_frames import FrameFields, frame_fields
from sdk.runtime.kernel_module import KernelSet
from sdk.spec import ModelSpec

__all__ = ["LEVELS", "MAX_SIZE", "Colours", "crop_affine", "crop_norm", "network_colours", "network_target"]

Colours = npt.NDArray[np.float64]  # [C, 4]: output channel k = row k . (the frame's three channels in 0..255, 1)
THREADS = 128  # small faces have few columns: more threads would idle
ACROSS = 16  # output pixels of a block of crop_norm, neighbours in a row
WARPS = 4  # of a block of crop_affine: an output pixel each
LAYOUTS = ("nchw", "hwc8")
HWC8_CHANNELS = 8
LEVELS = np.eye(3, 4)  # grey levels in the frame's own order
MAX_SIZE = 4096  # px a side of the output


def network_colours(spec: ModelSpec, color: str) -> Colours:
    """What sdk.image.pixels.to_network does to the channels of a frame in the order of `color`; NV12 gives "rgb"."""
    low, high = spec.value_range
    gain = np.broadcast_to((high - low) / 255.0 / np.asarray(spec.std), spec.channels)
    shift = np.broadcast_to((low - np.asarray(spec.mean)) / np.asarray(spec.std), spec.channels)
    rows = {"rgb": np.eye(3), "bgr": np.eye(3)[::-1], "y": YCBCR_FROM_RGB[:1]}[spec.colour]  # from RGB
    offset = YCBCR_OFFSET[:1] if spec.colour == "y" else np.zeros(3)
    source = rows if color == "rgb" else rows[:, ::-1]
    return np.concatenate([gain[:, None] * source, (gain * offset + shift)[:, None]], axis=1)


def crop_norm(
    kernels: KernelSet,
    frame: object,  # [H, W, 3] uint8 on the GPU, or a DeviceNv12
    windows: object,  # [N, 4] float32 on the GPU, edge coordinates
    *,
    out: object,  # [N, C, size, size] float32 or float16 on the GPU, written; hwc8: [N, size, size, 8] float16
    colours: Colours,  # [C, 4]; network_colours() or LEVELS
    stream: Stream,
    count: object | None = None,  # [1] int32 on the GPU: faces to do; None: N
    status: object | None = None,  # [N] int32 on the GPU, written: 0 done, 1 a window that is none
    layout: str = "nchw",  # or "hwc8", whose channels past C are written 0
) -> None:
    """sdk.image.crop.crop() and sdk.image.pixels.to_network() in one launch; returns before it is done.

    Windows of NaN, inverted or absurdly large write nothing but their status. The device must be current.
    Raises InputError that names the argument, BackendError when CUDA refuses the launch.
    """
    look = Arguments(kernels.device, stream)
    fields = frame_fields(look, frame, writable=False)
    boxes = look.take("windows", windows, np.float32, "N", 4)
    args, form = _args(look, fields, boxes, out=out, colours=colours, count=count, status=status, layout=layout)
    blocks = args.size * -(-args.size // ACROSS)
    _launch(kernels, f"crop_norm_{form}", args, blocks=blocks, stream=stream)


def crop_affine(
    kernels: KernelSet,
    frame: object,  # [H, W, 3] uint8 on the GPU, or a DeviceNv12
    crop_to_frame: object,  # [N, 2, 3] float32 on the GPU, similarity maps, centre coordinates
    *,
    out: object,  # as crop_norm
    colours: Colours,  # [C, 4]
    stream: Stream,
    count: object | None = None,  # [1] int32 on the GPU
    status: object | None = None,  # [N] int32 on the GPU, written: 0 done, 1 a map that is none
    layout: str = "nchw",
) -> None:
    """crop_norm() for turned faces: sdk.image.crop.crop_affine() in its place. As there in all else."""
    look = Arguments(kernels.device, stream)
    fields = frame_fields(look, frame, writable=False)
    maps = look.take("crop_to_frame", crop_to_frame, np.float32, "N", 2, 3)
    args, form = _args(look, fields, maps, out=out, colours=colours, count=count, status=status, layout=layout)
    blocks = -(-args.size * args.size // WARPS)
    _launch(kernels, f"crop_affine_{form}", args, blocks=blocks, stream=stream)


def network_target(
    look: Arguments,
    out: object,
    colours: Colours,
    *,
    layout: str,
    side: str = "size",  # letter of its sides
) -> tuple[DeviceArray, str]:
    """The array that a network reads, and its part of the kernel's name, after a look at it. Raises InputError."""
    if layout not in LAYOUTS:
        raise InputError(f"a layout of {LAYOUTS}", repr(layout), "use nchw, or what the engine's input tensor says")
    if colours.ndim != 2 or colours.shape[1] != 4 or len(colours) not in (1, 3):
        raise InputError("colours [1, 4] or [3, 4]", f"shape {list(colours.shape)}", "see network_colours()")
    if not np.isfinite(colours).all():
        raise InputError("finite colours", "NaN or infinity", "see the spec's mean, std and value_range")
    if layout == "hwc8":
        target = look.take("out", out, np.float16, "N", side, side, HWC8_CHANNELS, writable=True, aligned=True)
    else:
        target = look.take("out", out, (np.float32, np.float16), "N", len(colours), side, side, writable=True)
    return target, f"{'f16' if target.dtype == np.float16 else 'f32'}_{layout}"


def _args(
    look: Arguments,
    fields: FrameFields,
    boxes: DeviceArray,  # of N windows or maps
    *,
    out: object,
    colours: Colours,
    count: object | None,
    status: object | None,
    layout: str,
) -> tuple[CropNormArgs, str]:
    """Arguments of the kernel, and the end of its name. Raises InputError."""
    target, form = network_target(look, out, colours, layout=layout)
    size = look.sizes["size"]
    if not 1 <= size <= MAX_SIZE:
        raise InputError(f"out of 1 to {MAX_SIZE} px a side", str(size), "use sdk.image.crop.crop")
    args = CropNormArgs(
        **fields.pointers,
        boxes=boxes.pointer,
        count=look.optional("count", count, np.int32, 1, writable=False),
        out=target.pointer,
        status=look.optional("status", status, np.int32, "N"),
        size=size,
        channels=len(colours),
        capacity=look.faces("windows"),
    )
    fields.fill(args, "to_rgb")
    for k, row in enumerate(colours.tolist()):
        args.colour[k][:] = row
    return args, f"{fields.kind}_{form}"


def _launch(kernels: KernelSet, kernel: str, args: CropNormArgs, *, blocks: int, stream: Stream) -> None:
    if args.capacity:
        grid, block = (blocks, args.capacity, 1), (THREADS, 1, 1)
        kernels.launch("crop_norm", kernel, args, grid=grid, block=block, stream=stream.handle)
