"""Our small headers beside the kernel's own: the same structures, constants and verdicts."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from netkit_edu import uapi
from netkit_edu.program import btf as b
from netkit_edu.program.btf import Btf
from netkit_edu.program.elffile import ElfFile
from netkit_edu.program.files import bpf_folder, header_files
from netkit_edu.program.opcodes import HELPER_NUMBERS
from netkit_edu.program.toolchain import find_compiler
from tests.program.compiled import compiled, need_compiler, program

STRUCTS = ["__sk_buff", "ethhdr", "iphdr", "ipv6hdr", "udphdr", "tcphdr", "icmphdr", "in6_addr", "bpf_redir_neigh",
           "bpf_fib_lookup"]  # fmt: skip
HEADERS = "bpf if_ether in in6 ip ipv6 udp tcp icmp pkt_cls if_packet".split()
USE = "".join(f"struct {name} *use_{name};\n" for name in STRUCTS)
NUMBER = re.compile(r"^#define\s+(\w+)\s+(\(?[-\w(< )]+\)?)(?:\s*/\*.*)?$", re.M)


@pytest.fixture(scope="module")
def kernels_include() -> list[str]:
    machine = Path(f"/usr/include/{platform.machine()}-linux-gnu")
    if not (machine / "asm" / "types.h").exists() or not Path("/usr/include/linux/bpf.h").exists():
        pytest.skip("the kernel's headers are not here: apt-get install linux-libc-dev")
    need_compiler()
    return [f"-I{machine}", "-I/usr/include", f"-D__{platform.machine()}__"]  # for the C library's headers


def compile_with(options: list[str], text: str, output: str) -> bytes:
    command = [*find_compiler().command, "--target=bpf", "-g", "-O2", *options, "-x", "c", output, "-o", "-", "-"]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


def layout(btf: Btf, type_id: int, start: int = 0) -> dict[str, tuple[int, int, int]]:
    """Name of each member -> (offset in bits, size in bytes, width of a bit-field), anonymous ones opened up."""
    found = {}
    for member in btf[btf.resolve(type_id)].members:
        if member.name:
            found[member.name] = (start + member.offset, btf.size(member.type), member.bits)
        elif not member.bits:
            found |= layout(btf, member.type, start + member.offset)
    return found


def test_structures_have_the_kernels_layout(kernels_include):
    includes = "".join(f"#include <linux/{name}.h>\n" for name in HEADERS)
    elf = ElfFile(compile_with(kernels_include, includes + USE, "-c"))
    theirs = Btf.parse(elf.named(".BTF").data)
    ours = compiled(program("", USE), "").btf
    for name in STRUCTS:
        expected = layout(theirs, theirs.find(name, b.STRUCT))
        found = layout(ours, ours.find(name, b.STRUCT))
        assert found and found.items() <= expected.items(), name
        assert ours.size(ours.find(name, b.STRUCT)) == theirs.size(theirs.find(name, b.STRUCT)), name


def constants() -> list[str]:
    """Every constant that our headers with a twin in the kernel's define."""
    names = []
    for name in HEADERS:
        text = header_files()[f"linux/{name}.h"].read_text()
        names += [found[0] for found in NUMBER.findall(text)]
        names += re.findall(r"^\t((?:BPF_MAP_TYPE|IPPROTO|TCX)_\w+)", text, re.M)
    return sorted(set(names) - {"s6_addr", "s6_addr16", "s6_addr32"})


def test_constants_have_the_kernels_values(kernels_include):
    includes = "".join(f"#include <linux/{name}.h>\n" for name in HEADERS)
    table = "long long values[] = {" + ", ".join(f"(long long)({name})" for name in constants()) + "};\n"
    assert len(constants()) > 60
    text = re.sub(r"\(long long\)\((TCX_\w+)\)", "0", table)  # tcx is younger than some distributions' headers
    ours = compiled(program("\treturn values[skb->len & 1];", text), "").maps[".data"].initial
    theirs = ElfFile(compile_with(kernels_include, includes + text, "-c")).named(".data").data
    assert ours == theirs


def test_verdicts_are_those_of_the_package():
    text = header_files()["linux/if_link.h"].read_text()
    found = {name: int(value) for name, value in re.findall(r"NETKIT_(\w+) = (-?\d+)", text)}
    assert found == {verdict.name: verdict.value for verdict in uapi.Verdict}


def test_helpers_have_the_kernels_numbers():
    text = (bpf_folder() / "include" / "bpf" / "bpf_helpers.h").read_text()
    found = {name: int(n) for name, n in re.findall(r"\(\*const (bpf_\w+)\)[^;]*\(void \*\)(\d+);", text)}
    assert len(found) > 30
    assert found.items() <= HELPER_NUMBERS.items()


def test_helper_numbers_are_the_kernels(kernels_include):
    text = Path("/usr/include/linux/bpf.h").read_text()
    listed = re.findall(r"^\tFN\((\w+)(?:, \d+,[^)]*)?\)", text, re.M)
    names = [f"bpf_{name}" for name in listed if name != "unspec"]
    assert len(names) > 150
    assert {name: n for n, name in enumerate(names, 1)}.items() <= HELPER_NUMBERS.items()
