"""Finding a compiler, agreement of the compilers, the cache, prebuilt objects."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from netkit_edu.engine import interpreter, maps
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import CompileError
from netkit_edu.program import cache, compiler, files, toolchain
from netkit_edu.program.compiler import cache_key, compile_c, find_compiler, prebuild
from netkit_edu.program.object import Object
from tests.program.compiled import COURSE, ENVIRONMENT, KINDS, SAMPLES, compiled, need_compiler, only, program, sample
from tests.requires import ROOT

CELL = program("\treturn skb->len > 100 ? NETKIT_DROP : NETKIT_PASS;")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache: nothing in memory, a folder of its own on the disk."""
    monkeypatch.setenv("NETKIT_EDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_memory", {})
    return tmp_path / "cache"


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(compiler, "find_compiler", lambda: None)


def shape(obj: Object) -> dict:
    """What two compilers must agree on: everything but the choice of instructions."""
    return {
        "programs": {n: (c.section, c.license, sorted(c.functions.values())) for n, c in obj.programs.items()},
        "maps": {
            name: (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, spec.initial, spec.readonly)
            for name, spec in obj.maps.items()
        },
        "types": {n: (obj.btf.spell(s.key_type), obj.btf.spell(s.value_type)) for n, s in obj.maps.items()},
        "variables": {n: (v.map, v.offset, v.size, v.const, obj.btf.spell(v.type)) for n, v in obj.variables.items()},
    }


def answers(obj: Object) -> list:
    """Run every program on some packets; return verdicts, packets and map contents."""
    out = []
    for code in obj.programs.values():
        tables = {name: maps.create(spec) for name, spec in obj.maps.items()}
        run = interpreter.load(code, tables).run
        for n in range(24):
            ethernet = bytes(12) + bytes([8, 0])
            ip = bytes([0x45, 0, 0, 60, 0, 0, 0, 0, 64, (1, 6, 17)[n % 3], 0, 0, 10, 0, 0, 1, 10, 0, 0, n % 5])
            skb = SkBuff(ethernet + ip + bytes([0, n, 0, (53, 80)[n % 2]]) + bytes(3 * n), protocol=0x0800)
            skb.mark = n
            out.append((run(skb), skb.bytes, skb.mark))
        out.append({name: {key: table.lookup(key) for key in table.keys()} for name, table in tables.items()})
    return out


@pytest.mark.compilers
@pytest.mark.parametrize("path", SAMPLES + COURSE, ids=lambda path: path.name.split(".")[0])
def test_clang_and_zig_agree(path):
    by_clang, by_zig = (compiled(path.read_text(), kind) for kind in ("clang", "zig"))
    assert shape(by_clang) == shape(by_zig)
    assert answers(by_clang) == answers(by_zig)


@pytest.mark.compilers
def test_clang_and_zig_make_the_same_instructions_of_a_plain_cell():
    by_clang, by_zig = (compiled(sample("cell"), kind) for kind in ("clang", "zig"))
    assert by_clang.programs["drop_dns"].insns == by_zig.programs["drop_dns"].insns


@pytest.mark.compilers
@pytest.mark.parametrize(
    ("choice", "kind"), [("clang", "clang"), ("zig", "zig"), ("/usr/bin/clang", "clang"), ("", "clang")]
)
def test_a_compiler_can_be_chosen(choice, kind, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_CC", choice)
    found = find_compiler()
    assert found.kind == kind
    assert int(found.version.split(".")[0]) >= toolchain.OLDEST_CLANG


def fake_clang(folder, name: str, version: str, targets: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo 'clang version {version}' || echo '{targets}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("clangs", "found"),
    [
        ([("clang", "13.0.1", "    bpf - BPF")], None),
        ([("clang", "19.1.7", "    x86 - X86")], None),
        ([("clang", "13.0.1", "    bpf - BPF"), ("clang-16", "16.0.6", "    bpf - BPF")], "16.0.6"),
        ([("clang-14", "14.0.6", "    bpf - BPF"), ("clang-19", "19.1.7", "    bpf - BPF")], "19.1.7"),
        ([], None),
    ],
)
def test_only_a_clang_new_enough_that_knows_bpf_is_taken(clangs, found, tmp_path, monkeypatch):
    for one in clangs:
        fake_clang(tmp_path, *one)
    monkeypatch.setenv("PATH", str(tmp_path) + ":/bin" if clangs else str(tmp_path))
    monkeypatch.setattr(toolchain, "_zig_binary", lambda: None)
    if os.path.exists("/bin/clang") and clangs:
        monkeypatch.setenv("PATH", str(tmp_path))
        for one in clangs:
            (tmp_path / one[0]).write_text((tmp_path / one[0]).read_text().replace("#!/bin/sh", "#!/bin/sh\nPATH=/bin"))
    monkeypatch.delenv("NETKIT_EDU_CC", raising=False)
    compiler_found = find_compiler()
    assert (compiler_found and compiler_found.version) == found


def test_an_object_is_compiled_once(own_cache, monkeypatch):
    need_compiler()
    first = compile_c(CELL)
    monkeypatch.setattr(compiler, "_compile", lambda *args: pytest.fail("compiled again"))
    assert compile_c(CELL).programs == first.programs
    cache._memory.clear()
    assert compile_c(CELL).programs == first.programs
    assert [path.name for path in (own_cache / "objects").iterdir()] == [f"{cache_key(CELL)}.o"]


def test_another_text_level_or_header_is_another_object():
    keys = {
        cache_key(CELL), cache_key(CELL + "\n"), cache_key(CELL, optimize="-O1"), cache_key(CELL, headers={"a.h": ""}),
        cache_key(CELL, headers={"a.h": "x"}), cache_key(CELL, headers={"b.h": ""}),
    }  # fmt: skip
    assert len(keys) == 6


def test_the_key_knows_neither_compiler_nor_folder(tmp_path, monkeypatch):
    key = cache_key(CELL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETKIT_EDU_CC", "/nowhere/clang")
    code = "import sys; from netkit_edu.program.compiler import cache_key; print(cache_key(sys.stdin.read()))"
    done = subprocess.run([sys.executable, "-c", code], input=CELL, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == key == cache_key(CELL)


def test_a_broken_entry_of_the_cache_is_compiled_anew(own_cache):
    need_compiler()
    expected = compile_c(CELL).programs
    (path,) = (own_cache / "objects").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    cache._memory.clear()
    assert compile_c(CELL).programs == expected
    assert path.stat().st_size > 100


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    need_compiler()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETKIT_EDU_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(cache, "_memory", {})
    assert list(compile_c(CELL).programs) == ["f"]


def test_memory_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(cache, "_memory", {})
    for n in range(2 * cache.MOST_IN_MEMORY):
        cache.store(str(n), b"", on_disk=False)
    assert len(cache._memory) == cache.MOST_IN_MEMORY


def test_prebuilt_objects_serve_where_no_compiler_is(tmp_path, own_cache, monkeypatch):
    need_compiler()
    (path,) = prebuild([CELL], tmp_path / "prebuilt")
    assert path.name == f"{cache_key(CELL)}.o"
    cache._memory.clear()
    monkeypatch.setenv("NETKIT_EDU_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(compiler, "find_compiler", lambda: None)
    monkeypatch.setattr(cache, "prebuilt_folder", lambda: tmp_path / "prebuilt")
    obj = compile_c(CELL)
    assert list(obj.programs) == ["f"] and obj.source == CELL
    with pytest.raises(CompileError, match="no C compiler"):
        compile_c(CELL + "\n")


def test_without_a_compiler_the_error_says_what_brings_one(own_cache, no_compiler):
    with pytest.raises(CompileError, match="apt-get install clang, or pip install ziglang"):
        compile_c(CELL)


COMPILE_AS_NOBODY = f"""
import os
from netkit_edu.program import cache
from netkit_edu.program.compiler import compile_c, find_compiler
find_compiler()  # with the caller's PATH; the rest happens without any
compile_c({CELL!r} + "//")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
find = find_compiler()
os.environ.clear()
os.environ["NETKIT_EDU_CC"] = find.path
cache.lookup = lambda key: None
print(os.geteuid(), *compile_c({CELL!r}).programs)
"""


@pytest.mark.parametrize("kind", ["clang", "zig"])
def test_nobody_with_an_empty_environment_and_no_home_can_compile(kind):
    if kind not in KINDS:
        pytest.skip(f"{kind} is not here")
    environment = {"PATH": ENVIRONMENT["PATH"], "NETKIT_EDU_CC": kind, "NETKIT_EDU_CACHE": "/nowhere/to/be/found"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE_AS_NOBODY], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    expected = 65534 if os.geteuid() == 0 else os.geteuid()
    assert done.stdout.strip() == f"{expected} f", done.stderr


@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os", "-Og"])
def test_every_level_of_optimisation_gives_the_same_answers(level):
    need_compiler()
    text = sample("policy")
    with only(""):
        assert answers(compile_c(text, optimize=level)) == answers(compiled(text, ""))


def test_further_headers_can_be_handed_in():
    need_compiler()
    text = '#include "mine/own.h"\n' + program("\treturn OWN;")
    obj = compile_c(text, headers={"mine/own.h": "#include <netkit_edu.h>\n#define OWN 5\n"})
    assert obj.programs["f"].insns[0].imm == 5


def test_each_header_compiles_alone_and_after_all_others():
    need_compiler()
    everything = "".join(f"#include <{name}>\n" for name in files.header_files())
    for name in files.header_files():
        attribute = '__attribute__((section("tc"), used)) int f(void *skb) { return 0; }\n'
        compile_c(f"#include <{name}>\n#include <{name}>\n{attribute}")
    compile_c(everything + everything + CELL)
