"""Says on stderr why there is no NVIDIA GPU, and exits 1: `python scripts/find_gpu.py`. Standard library only.

It runs before anything is installed; sdk.runtime.gpu.probe() tells more.
"""

import ctypes
import sys
from typing import Any

LIBRARY = "libcuda.so.1"
REMEDY = "run it on a machine with one; docs/GPU.md has the steps, also for a host without a network"


def open_library() -> Any:
    return ctypes.CDLL(LIBRARY)


def problem() -> str:
    """Why no GPU can be used here; "" when one can."""
    try:
        library = open_library()
        status = library.cuInit(0)
        count = ctypes.c_int()
        status = status or library.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError) as error:
        return f"no NVIDIA driver ({error})"
    if status:
        return f"CUDA error {status} from the driver; look at nvidia-smi"
    return "" if count.value else "a driver without any GPU"


def main() -> int:
    got = problem()
    if got:
        sys.stderr.write(f"gpu-check: expected an NVIDIA GPU; got {got}; {REMEDY}\n")
    return int(bool(got))


if __name__ == "__main__":
    sys.exit(main())
