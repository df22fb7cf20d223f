"""Rates of devices that are not at hand: data sheets, and what is known beyond them. Dense rates, never "sparse" ones.

Orin's rates are clock x multiprocessors x 2048 (fp16; 4096 int8) operations a multiprocessor and clock, GPU alone,
without DLA: marketing figures of Orin count sparsity and the DLAs. fp32 is that of CUDA cores: engines here are built
without TF32. L2 rates and launch costs stand on no data sheet: they are estimates, and predictions say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sdk.errors import InputError

__all__ = ["DEVICES", "Rates", "device_names", "matching", "rates_of"]

GB, TERA = 1e9, 1e12
OTHER_VARIANTS = {
    "laptop",
    "mobile",
    "max-q",
    "pcie",
    "nvl",
    "d",
}  # words of GPUs with other rates than their namesakes


@dataclass(frozen=True)
class Rates:
    """What a device can do at most; None: unknown."""

    name: str
    fp32_tflop_s: float | None
    fp16_tflop_s: float | None  # accumulated in fp32
    int8_top_s: float | None
    dram_gb_s: float  # read and written
    launch_us: float  # of one more kernel (GPU: inside a replayed graph) or operator
    multiprocessors: int = 0  # 0: a processor
    l2_mb: float = 0.0  # of the last cache, whatever its level
    l2_gb_s: float = 0.0  # what caches give; of a processor the rate of a near one, as an upper bound. 0: unknown
    gpu_names: tuple[str, ...] = ()  # words in what the driver calls it
    source: str = ""

    def peak(self, precision: str) -> float | None:
        """Operations a second at a precision; None: unknown. Raises InputError for an unknown precision."""
        peaks = {"fp32": self.fp32_tflop_s, "fp16": self.fp16_tflop_s, "int8": self.int8_top_s}
        if precision not in peaks:
            raise InputError(f"a precision among {', '.join(peaks)}", repr(precision), "choose one of those")
        tera = peaks[precision]
        return None if tera is None else tera * TERA

    def record(self) -> dict[str, float | None]:
        """For Conditions.probe; the three plain ones are None where they were not measured."""
        scaled = {
            "fp32_gflop_s": self.fp32_tflop_s,
            "fp16_gflop_s": self.fp16_tflop_s,
            "int8_gop_s": self.int8_top_s,
        }
        rates = {name: None if tera is None else round(1000 * tera, 2) for name, tera in scaled.items()}
        caches = {"cache_mb": round(self.l2_mb, 2), "cache_gb_s": round(self.l2_gb_s, 2)} if self.l2_gb_s else {}
        return {"copy_gb_s": round(self.dram_gb_s, 2), **rates, **caches, "launch_us": round(self.launch_us, 3)}

    @classmethod
    def from_record(cls, record: Mapping[str, float | None], *, prefix: str = "") -> "Rates | None":
        """Inverse of record(), of names with a prefix; None where it holds no copy rate."""
        copied = record.get(f"{prefix}copy_gb_s")
        if not copied:
            return None
        fp32, fp16, int8 = (
            None if (one := record.get(prefix + name)) is None else one / 1000
            for name in ("fp32_gflop_s", "fp16_gflop_s", "int8_gop_s")
        )
        launch_us, mb, gb_s = (record.get(prefix + name) or 0.0 for name in ("launch_us", "cache_mb", "cache_gb_s"))
        return cls("this machine", fp32, fp16, int8, copied, launch_us, l2_mb=mb, l2_gb_s=gb_s)


DEVICES = {
    "h200": Rates(
        "h200", 66.9, 790.0, 1580.0, 4300.0, 2.0, 132, 50.0, 7000.0, ("H200",),
        "fp16 and DRAM measured (bf16 products of random data, copy read and write); others NVIDIA H200 data sheet, "
        "int8 as twice the measured fp16",
    ),
    "h100": Rates(
        "h100", 66.9, 989.4, 1978.9, 3350.0, 2.0, 132, 50.0, 5500.0, ("H100",),
        "NVIDIA H100 SXM5 data sheet",
    ),
    "rtx-5090": Rates(
        "rtx-5090", 104.8, 209.5, 838.0, 1792.0, 2.0, 170, 96.0, 6000.0, ("RTX 5090",),
        "NVIDIA RTX Blackwell GPU architecture, appendix A",
    ),
    "rtx-4090": Rates(
        "rtx-4090", 82.6, 165.2, 660.6, 1008.0, 2.0, 128, 72.0, 4500.0, ("RTX 4090",),
        "NVIDIA Ada GPU architecture, appendix A",
    ),
    "thor": Rates(
        "thor", 8.1, 258.0, 517.0, 273.0, 3.0, 20, 32.0, 2000.0, ("Thor",),
        "NVIDIA Jetson Thor T5000 data sheet (fp8 as int8)",
    ),
    "agx-orin": Rates(
        "agx-orin", 5.3, 42.6, 85.2, 204.8, 4.0, 16, 4.0, 700.0, ("AGX Orin",),
        "NVIDIA Jetson AGX Orin 64 GB data sheet: 1300 MHz, GPU alone",
    ),
    "orin-nx": Rates(
        "orin-nx", 1.9, 15.0, 30.1, 102.4, 5.0, 8, 4.0, 350.0, ("Orin NX",),
        "NVIDIA Jetson Orin NX 16 GB data sheet: 918 MHz, GPU alone",
    ),
    "orin-nano-super": Rates(
        "orin-nano-super", 2.1, 16.7, 33.4, 102.4, 5.0, 8, 4.0, 400.0, ("Orin Nano Super",),
        "NVIDIA Jetson Orin Nano Super data sheet: 1020 MHz",
    ),
    "orin-nano": Rates(
        "orin-nano", 1.3, 10.2, 20.5, 68.0, 5.0, 8, 4.0, 250.0, ("Orin Nano",),
        "NVIDIA Jetson Orin Nano 8 GB data sheet: 625 MHz",
    ),
}  # fmt: skip


def rates_of(name: str) -> Rates:
    """A device of the table. Raises InputError, listing the known ones."""
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    if key not in DEVICES:
        raise InputError(f"a device among {', '.join(DEVICES)}", repr(name), "choose one of those")
    return DEVICES[key]


def device_names(text: str) -> tuple[str, ...]:
    """ "orin-nano,thor" -> names of the table, each once; "all" is every one. Raises InputError."""
    if text.strip().lower() == "all":
        return tuple(DEVICES)
    names = tuple(dict.fromkeys(rates_of(part).name for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f'devices among {", ".join(DEVICES)}, or "all"', repr(text), "name at least one")
    return names


def matching(gpu: str, *, jetson: str | None = None) -> Rates | None:
    """The device of the table that a driver's GPU name ("NVIDIA H200") or a Jetson's model says; None: none.

    A Jetson's GPU is called "Orin" whatever the module is; /proc/device-tree/model knows more.
    """
    words = set(f"{gpu} {jetson or ''}".lower().split())
    if words & OTHER_VARIANTS:
        return None
    for rates in DEVICES.values():  # "Orin Nano Super" comes before "Orin Nano"
        if any(set(name.lower().split()) <= words for name in rates.gpu_names):
            return rates
    return None
