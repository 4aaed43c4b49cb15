"""Nothing outside of the include folders and the cell can be read or written while a cell is compiled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netkit_edu.errors import CompileError
from netkit_edu.program.compiler import MAX_SOURCE, compile_c, compile_with_warnings
from netkit_edu.program.sandbox import check_assembler
from tests.program.compiled import each_compiler, only, program

SECRET = "never_to_be_seen_4711"
HEADER = "#include <netkit_edu.h>\n"


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "secret.h"
    path.write_text(f"int {SECRET} = 1;\n")
    return path


def attempt(text: str, kind: str) -> str:
    """Compile; return all that came back: messages, or the object's bytes as text."""
    with only(kind):
        try:
            obj, warnings = compile_with_warnings(text)
        except CompileError as error:
            return str(error) + str(error.diagnostics)
        return obj.elf.decode("latin-1") + str(warnings)


DIRECTIVES = {
    "include": '#include "{path}"',
    "include with angle brackets": "#include <{path}>",
    "include from below": '#include "../../../../../../../../..{path}"',
    "include through a macro": '#define WHERE "{path}"\n#include WHERE',
    "include through a built macro": "#define S(x) #x\n#define T(x) S(x)\n#include T({path})",
    "include_next": '#include_next "{path}"',
    "import": '#import "{path}"',
    "digraph": '%:include "{path}"',
    "trigraph": '??=include "{path}"',
    "line continuation": '#inc\\\nlude "{path}"',
    "pragma dependency": '#pragma GCC dependency "{path}"',
    "_Pragma dependency": '_Pragma("GCC dependency \\"{path}\\"")',
    "embed": 'const unsigned char stolen[] = {{\n#embed "{path}"\n}};',
    "module": "#pragma clang module import secret",
}


@each_compiler
@pytest.mark.parametrize("how", DIRECTIVES)
def test_a_directive_reaches_no_other_file(how, kind, secret):
    text = HEADER + DIRECTIVES[how].format(path=secret) + "\n" + program("")
    assert SECRET not in attempt(text, kind)
    with only(kind), pytest.raises(CompileError):
        compile_c(text)


@each_compiler
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin", "/dev/fd/3", "/proc/self/exe"]
)
def test_special_files_are_not_there(path, kind):
    assert "file not found" in attempt(f'{HEADER}#include "{path}"\n' + program(""), kind)


@each_compiler
@pytest.mark.parametrize("question", ["__has_include", "__has_include_next", "__has_embed"])
def test_a_text_cannot_even_ask_whether_a_file_exists(question, kind, secret):
    text = f'{HEADER}#if {question}("{secret}")\n#error it exists\n#endif\n' + program("")
    with only(kind):
        try:
            compile_c(text)
        except CompileError as error:
            assert "is not defined" in str(error)  # clang 14 does not know __has_embed


@each_compiler
@pytest.mark.parametrize(
    "marker", ['#line 1 "{path}"', '# 1 "{path}"', '# 1 "{path}" 1', '#define P "{path}"\n#line 1 P']
)
def test_line_directives_do_not_pull_source_lines_from_other_files(marker, kind, secret):
    assert SECRET not in attempt(HEADER + marker.format(path=secret) + "\n" + program("\tskb->mark = 1;"), kind)


ASSEMBLER = {
    "top level": ('asm(".incbin \\"{path}\\"");', ""),
    "in a function": ("", '\tasm volatile(".incbin \\"{path}\\"");'),
    "with underscores": ("", '\t__asm__ __volatile__(".incbin \\"{path}\\"");'),
    "include": ("", '\tasm volatile(".include \\"{path}\\"");'),
    "hexadecimal escape": ("", '\tasm volatile("\\x2eincbin \\"{path}\\"");'),
    "octal escape": ("", '\tasm volatile("\\056incbin \\"{path}\\"");'),
    "unicode escape": ("", '\tasm volatile("\\u002eincbin \\"{path}\\"");'),
    "joined strings": ("", '\tasm volatile("." "inc" "bin \\"{path}\\"");'),
    "keyword made by a macro": ("#define J(a, b) a##b\n", '\tJ(as, m) volatile(".incbin \\"{path}\\"");'),
    "string made by a macro": ("#define S(x) #x\n", '\tasm volatile(S(.incbin) " \\"{path}\\"");'),
    "name of a symbol": ('int q asm("\\n.incbin \\"{path}\\"\\n");', '\tq++;\n\tasm volatile("%0" :: "i"(&q));'),
    "symbol behind a full stop": ("int incbin;", '\tasm volatile(".%0 \\"{path}\\"" :: "i"(&incbin));'),
    "assembler macro": ("", '\tasm volatile(".macro m a\\n.\\\\a \\"{path}\\"\\n.endm\\nm incbin");'),
    "raw string": ("", '\tconst char *s = R"x( " )x"; asm volatile(".incbin \\"{path}\\""); skb->mark = s[0];'),
    "pragma": ("#pragma redefine_extname q incbin\nextern int q;", '\tasm volatile("%0" :: "i"(&q));'),
}  # fmt: skip


@each_compiler
@pytest.mark.parametrize("how", ASSEMBLER)
def test_the_assembler_reaches_no_other_file(how, kind, secret):
    before, body = (part.format(path=secret) if "{path}" in part else part for part in ASSEMBLER[how])
    text = HEADER + before + "\n" + program(body)
    assert SECRET not in attempt(text, kind)
    with only(kind), pytest.raises(CompileError):
        compile_c(text)


@pytest.mark.parametrize(
    "text",
    [
        'asm("r0 = r0" "\\x" "2eincbin");',
        'asm(L"r0 = r0");',
        'asm("\\.incbin");',
        "char a = '\"'; asm(\".incbin\"); char b = '\"';",
        '# 1 "x"\n#pragma clang attribute push\nasm("r0 = r0");',
        'asm("a" : : : "unterminated);',
    ],
)
def test_assembler_text_that_cannot_be_checked_is_refused(text):
    if "\\x" in text:  # escapes do not reach over the end of a string, so this one holds no full stop
        check_assembler(text)
        return
    with pytest.raises(CompileError, match="inline assembler"):
        check_assembler(text)


@each_compiler
def test_the_environment_chooses_no_include_folder(kind, secret, monkeypatch):
    for name in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"):
        monkeypatch.setenv(name, str(secret.parent))
    monkeypatch.setenv("CCC_OVERRIDE_OPTIONS", f"+-I{secret.parent}")
    monkeypatch.chdir(secret.parent)
    assert "file not found" in attempt(HEADER + '#include "secret.h"\n' + program(""), kind)


@each_compiler
def test_nothing_is_left_behind_whatever_happens(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    with only(kind):
        compile_c(program(""))
        compile_c('#include "own.h"\n' + program("\treturn OWN;"), headers={"own.h": HEADER + "#define OWN 5\n"})
        for broken in (program("\treturn x;"), "#pragma clang __debug crash\n" + program("")):
            with pytest.raises(CompileError):
                compile_c(broken)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["../own.h", "/etc/own.h", "a b.h", "", "a//b.h", ".h"])
def test_a_header_of_ones_own_has_a_plain_name(name):
    with pytest.raises(CompileError, match="no name for a header"):
        compile_c(program(""), headers={name: ""})


@each_compiler
def test_a_text_that_keeps_the_compiler_busy_is_stopped(kind, monkeypatch):
    monkeypatch.setattr("netkit_edu.program.compiler.TIMEOUT", 0.5)
    doubling = "".join(f"#define a{n} a{n - 1} a{n - 1} a{n - 1} a{n - 1}\n" for n in range(1, 15))
    with only(kind), pytest.raises(CompileError, match="did not finish within 0.5 s"):
        compile_c(f'#define a0 "xxxxxxxx"\n{doubling}const char *p = a14;\n' + program(""))


@each_compiler
def test_an_object_that_grows_too_large_is_stopped(kind):
    with only(kind), pytest.raises(CompileError, match="larger than 4 MB"):
        compile_c("int big[2000000] = { 1 };\n" + program("\treturn big[skb->len & 7];"))


def test_a_text_that_is_too_long_is_not_compiled():
    with pytest.raises(CompileError, match="limit is 256 kB"):
        compile_c("/*" + "x" * MAX_SOURCE + "*/")


def test_characters_that_are_no_text_are_one_error():
    with pytest.raises(CompileError, match="lone surrogates"):
        compile_c(program("\t/* \ud800 */"))


def test_options_cannot_be_slipped_in():
    with pytest.raises(CompileError, match="optimize is"):
        compile_c(program(""), optimize="-include/etc/passwd")
