"""Static gates of the shipped machine code: up to date, registers, memory, instructions, by kernel and architecture.

Read from kernels/built with cuobjdump and nvdisasm, no GPU needed: extra `kernels` (30 MB), installed by `make test`.
"""

import functools
import lzma
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts import build_kernels, kernel_tools
from sdk.runtime.kernel_files import read_index

FOLDER = build_kernels.FOLDER
NAMES = [path.stem for path in build_kernels.sources()]
CUBINS = [*build_kernels.CUBINS_12, *build_kernels.CUBINS_13]
TAPS_BYTES = 1024  # of image_tail, all but _r1: bicubic weights
NEWEST_PTX = (8, 5)  # what drivers of CUDA 12.5 read


@dataclass(frozen=True)
class Gate:
    """What a .cu file was designed to hold; patterns are of kernel names."""

    registers: int = 64  # a multiprocessor holds 1024 threads of them
    shared_bytes: dict[str, int] = field(default_factory=dict)  # as the .cu file's head says; the others use none
    vector_loads: str = r"^$"  # LDG.E.128: reads 16 bytes a thread
    redux: str = r"^$"  # warp reductions in one instruction, from sm_80 on
    vector_stores: str = r"^$"  # at least 8 bytes a thread


GATES = {
    "crop_norm": Gate(vector_stores="hwc8", shared_bytes={"crop_norm_": 128 * 3 * 4}),
    "heatmap_decode": Gate(
        registers=48,
        vector_loads=".",
        redux=".",
        shared_bytes={
            "nchw": 944 + 8 * 8,  # a refining warp's window and taps; what 8 warps found
            "hwc8": 8 * 944 + 8 * 16 * 4,
            "chw32": 8 * 944 + 8 * 32 * 4,
        },
    ),
    "image_tail": Gate(
        registers=72,  # 7 blocks of 128 threads
        vector_loads=".",
        vector_stores="_r1|_r8",
        shared_bytes={
            **{f"f16_nchw_r{r}": TAPS_BYTES + 768 * r for r in (2, 4, 8)},
            **{f"f32_nchw_r{r}": TAPS_BYTES + 1536 * r for r in (2, 4, 8)},
            "hwc8": TAPS_BYTES,
        },
    ),
    "enlarge": Gate(vector_stores="hwc8"),
    "luma_tail": Gate(),
    "paste_gate": Gate(registers=48),
    "paste": Gate(registers=72, shared_bytes={".": 32}),
    "paste_match": Gate(registers=72, shared_bytes={".": 2388}),
    "pixel_shuffle": Gate(vector_loads="_r", vector_stores="_r"),
}


def dump(name, option):
    """What cuobjdump says of a fat binary."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{name}.fatbin"
        path.write_bytes(lzma.decompress((FOLDER / "built" / f"{name}.fatbin.xz").read_bytes()))
        return kernel_tools.dump(path, option)


@functools.cache
def resources(name):
    """(architecture, kernel) -> {"REG": 40, "STACK": 0, ...}."""
    text = dump(name, "--dump-resource-usage")
    found, arch, kernel = {}, "", ""
    for line in text.splitlines():
        if line.startswith("arch = "):
            arch = line.removeprefix("arch = ").strip()
        elif line.strip().startswith("Function "):
            kernel = line.strip().removeprefix("Function ").rstrip(":")
        elif "REG:" in line:
            found[arch, kernel] = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
    return found


@functools.cache
def instructions(name):
    """(architecture, kernel) -> the set of its instructions with their suffixes, "LDG.E.128.CONSTANT"."""
    text = dump(name, "--dump-sass")
    found, arch, kernel = {}, "", ""
    for line in text.splitlines():
        if line.startswith("arch = "):
            arch = line.removeprefix("arch = ").strip()
        elif "Function : " in line:
            kernel = line.partition("Function : ")[2].strip()
            found[arch, kernel] = set()
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line):
            found[arch, kernel].add(match[1])
    return found


def has(found, *prefixes):
    return any(one.startswith(prefixes) for one in found)


each_file = pytest.mark.parametrize("name", NAMES)


def test_every_kernel_has_a_gate():
    assert set(NAMES) <= set(GATES)


@each_file
def test_the_shipped_binary_is_up_to_date(name):
    assert build_kernels.is_current(FOLDER, name, read_index(FOLDER)), (
        f"kernels/{name}.cu or a header of it was edited; run make -C kernels and commit kernels/built"
    )


def test_the_index_names_no_others():
    index = read_index(FOLDER)
    built = [path.name.removesuffix(".fatbin.xz") for path in (FOLDER / "built").glob("*.fatbin*")]
    assert sorted(index["files"]) == sorted(NAMES) == sorted(built)
    assert index["targets"] == [*CUBINS, build_kernels.PTX]


@each_file
def test_every_kernel_is_there_for_every_architecture(name):
    kernels = read_index(FOLDER)["files"][name]["kernels"]
    assert kernels
    assert set(resources(name)) == {(arch, kernel) for arch in CUBINS for kernel in kernels} == set(instructions(name))
    assert "sm_80.ptx" in dump(name, "--list-ptx")


@each_file
def test_registers_and_memory(name):
    gate = GATES[name]
    for where, use in resources(name).items():
        assert use["REG"] <= gate.registers, (where, use)
        assert use["STACK"] == use["LOCAL"] == 0, (where, use)  # a spilled register would lie there
        reserved = 1024 if int(where[0].split("_")[1]) >= 90 else 0  # by the system, of every block
        most = [size_bytes for kernels, size_bytes in gate.shared_bytes.items() if re.search(kernels, where[1])]
        assert len(most) <= 1 and use["SHARED"] - reserved <= sum(most), (where, use)


@each_file
def test_nothing_goes_through_local_memory(name):
    for where, found in instructions(name).items():
        assert not has(found, "LDL", "STL"), (where, sorted(found))


@each_file
def test_instructions_are_those_designed(name):
    gate = GATES[name]
    for (arch, kernel), found in instructions(name).items():
        if re.search(gate.vector_loads, kernel):
            assert any(one.startswith("LDG.E.") and ".128" in one for one in found), (arch, kernel, sorted(found))
        if re.search(gate.redux, kernel) and arch != "sm_75":
            assert has(found, "REDUX", "CREDUX"), (arch, kernel, sorted(found))
        if re.search(gate.vector_stores, kernel):
            wide = [one for one in found if re.match(r"STG\.E\.(\w+\.)*(64|128)", one)]
            assert wide, (arch, kernel, sorted(found))


@each_file
def test_nvrtc_takes_the_source_without_a_warning(name):
    """For the device's fallback; the PTX is one that old drivers read, and its structs are as the index says."""
    source = FOLDER / f"{name}.cu"
    ptx = build_kernels.compile_quietly(source, build_kernels.PTX, kernel_tools.Nvrtc.open(12)).decode()
    version = tuple(int(part) for part in re.findall(r"\.version\s+(\d+)\.(\d+)", ptx)[0])
    assert version <= NEWEST_PTX
    assert build_kernels.entry_points(ptx) == read_index(FOLDER)["files"][name]["kernels"]


@each_file
def test_nvcc_takes_the_source_without_a_warning(name, tmp_path):
    """One architecture: `make -C kernels check` compiles for all."""
    nvcc = kernel_tools.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc of CUDA 13 on this machine; NVRTC has compiled it for every target")
    kernel_tools.run_nvcc(nvcc, FOLDER / f"{name}.cu", "sm_87", tmp_path / "out", options=build_kernels.options())
