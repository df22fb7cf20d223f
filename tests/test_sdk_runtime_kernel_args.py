"""The ctypes mirrors of the kernels' argument structs against the C++ compiler's view of kernels/*.cuh."""

import ctypes
import re
import subprocess

import kernel_host
import pytest

from sdk.runtime import kernel_args

STRUCTS = sorted(set(kernel_args.STRUCTS.values()), key=lambda struct: struct.__name__)
pytestmark = kernel_host.needs_compiler


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Struct -> field -> (offset, size) and "" -> the whole, as g++ lays them out."""
    sources = sorted(kernel_host.FOLDER.glob("*.cu*"))
    headers = [path for path in sources if re.search(r"^struct \w+Args ", path.read_text(), re.MULTILINE)]
    lines = [f'#include "{path.name}"' for path in headers] + ["#include <cstddef>", "int main() {"]
    for struct in STRUCTS:
        name = struct.__name__
        lines.append(f'    printf("{name} . 0 %zu\\n", sizeof({name}));')
        for field, *_ in struct._fields_:
            where = f"offsetof({name}, {field}), sizeof({name}::{field})"
            lines.append(f'    printf("{name} {field} %zu %zu\\n", {where});')
    folder = tmp_path_factory.mktemp("layout")
    (folder / "layout.cu").write_text("\n".join([*lines, "}", ""]))
    form = [one for one in kernel_host.FORM if one not in ("-shared", "-fPIC")]
    folders = ["-isystem", str(kernel_host.cuda_include()), "-I", str(kernel_host.FOLDER)]
    command = ["g++", *kernel_host.FLAGS, "-O0", "-Wno-invalid-offsetof", *form, *folders, str(folder / "layout.cu")]
    done = subprocess.run([*command, "-o", str(folder / "layout")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in subprocess.run([folder / "layout"], capture_output=True, text=True).stdout.splitlines():
        name, field, offset, size = line.split()
        found.setdefault(name, {})[field] = (int(offset), int(size))
    return found


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_fields_lie_where_the_kernel_looks(layouts, struct):
    theirs = layouts[struct.__name__]
    ours = {name: (getattr(struct, name).offset, getattr(struct, name).size) for name, _ in struct._fields_}
    assert ours == {name: place for name, place in theirs.items() if name != "."}
    assert ctypes.sizeof(struct) == theirs["."][1]


def test_no_struct_of_a_kernel_is_forgotten():
    sources = {path.stem for path in kernel_host.FOLDER.glob("*.cu")}
    assert sources == set(kernel_args.STRUCTS)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_no_field_of_a_struct_is_forgotten(struct):
    """Every byte but padding before an 8-byte end belongs to a field."""
    used = sum(ctypes.sizeof(kind) for _, kind in struct._fields_)
    assert 0 <= ctypes.sizeof(struct) - used < 8
