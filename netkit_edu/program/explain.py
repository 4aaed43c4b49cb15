"""One plain sentence for each of the commonest mistakes in a cell: what it means, and what to do."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Sequence

from netkit_edu.program import opcodes as op
from netkit_edu.program.files import header_files

GPL_LINE = 'char _license[] SEC("license") = "GPL";'

_SHORT_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s32": "__s32", "s64": "__s64"}
_CONTEXTS = "struct (xdp_md|sk_buff|xdp_buff|bpf_sock\\w*|sk_msg_md|pt_regs)"
Explain = Callable[[re.Match, str, Sequence[str]], str]
_EXPLANATIONS: list[tuple[re.Pattern, Explain]] = []


def explain(message: str, source: str, lines: Sequence[str]) -> str:
    """Return a sentence about a compiler's message, "" if it is none of the common ones.

    Args:
        message: the compiler's words (clang 14 to 22).
        source: the line it is about.
        lines: the whole text.
    """
    for pattern, sentence in _EXPLANATIONS:
        if match := pattern.search(message):
            if said := sentence(match, source, lines):
                return said
    return ""


@functools.cache
def header_of(name: str) -> str:
    """Return the header that defines ``name``, "" if none of ours does."""
    word = re.escape(name)
    defines = re.compile(
        rf"#define\s+{word}\b|\bstruct\s+{word}\s*\{{|^\s*{word}\s*[=,]|\(\*const {word}\)|^typedef .*\b{word};", re.M
    )
    found = [header for header, path in header_files().items() if defines.search(path.read_text())]
    return min(found, key=len, default="")


def _on(pattern: str) -> Callable[[Explain], Explain]:
    def add(sentence: Explain) -> Explain:
        _EXPLANATIONS.append((re.compile(pattern), sentence))
        return sentence

    return add


@_on(r"expected ';' after (struct|union|enum)")
def _semicolon_after_struct(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return f"A {match[1]} definition ends with a semicolon: put one after the closing brace before this line."


@_on(r"expected ';'")
def _semicolon(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "A statement or declaration ends with a semicolon: put one here."


@_on(r"type specifier missing|expected parameter declarator|expected ';' after top level declarator")
def _section_unknown(match: re.Match, source: str, lines: Sequence[str]) -> str:
    if "SEC" not in source:
        return ""
    return "SEC is not known here: add #include <bpf/bpf_helpers.h>, or include nothing at all to get everything."


@_on(r"'([^']+)' file not found")
def _no_such_header(match: re.Match, source: str, lines: Sequence[str]) -> str:
    near = difflib.get_close_matches(match[1], header_files(), 1, 0.82)
    hint = f"Did you mean <{near[0]}>? " if near else ""
    return f"{hint}A cell can include these headers, and no other file of this machine: {', '.join(header_files())}."


@_on(r"use of undeclared identifier '([^']+)'(?:; did you mean '([^']+)')?")
def _undeclared(match: re.Match, source: str, lines: Sequence[str]) -> str:
    name, near = match.groups()
    if near:
        return f"Nothing here is called {name}. Did you mean {near}?"
    if name in _SHORT_TYPES:
        return f"Nothing here is called {name}: the type is called {_SHORT_TYPES[name]}."
    if header := header_of(name):
        return f"{name} is defined in a header that this text does not include: add #include <{header}>."
    return f"Nothing called {name} is declared before this line: declare it, or look for a slip in its name."


@_on(r"(?:call to undeclared|implicit declaration of|implicitly declaring)(?: library)? function '(\w+)'")
def _implicit(match: re.Match, source: str, lines: Sequence[str]) -> str:
    name = match[1]
    if header := header_of(name):
        return f"{name}() is declared in a header that this text does not include: add #include <{header}>."
    if name == "printf":
        return "There is no printf() in the kernel: use bpf_printk(), which writes to the trace."
    if name.startswith("bpf_"):
        known = [helper for helper in op.HELPER_NUMBERS if header_of(helper)]
        near = difflib.get_close_matches(name, known, 1, 0.75)
        if name in op.HELPER_NUMBERS:
            return f"{name}() is a helper of the kernel (number {op.HELPER_NUMBERS[name]}), but not one for cells here."
        return f"There is no helper called {name}()." + (f" Did you mean {near[0]}()?" if near else "")
    return (
        f"No function {name}() is declared before this line. A program can call the kernel's helpers (bpf_...) "
        "and functions of its own text, and nothing else: there is no C library."
    )


@_on(rf"(?:incomplete definition of type|declaration of|incomplete type) '{_CONTEXTS}'")
def _wrong_context(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return wrong_context(f"struct {match[1]}")


def wrong_context(found: str) -> str:
    """Return what to say about a program whose context is not ``struct __sk_buff *``."""
    other = {
        "struct xdp_md": "that is the context of an XDP program",
        "struct sk_buff": "that is the kernel's own structure, which a program cannot reach",
    }.get(found, "that is not what the kernel passes")
    return f"A netkit or tc program takes struct __sk_buff *, not {found} *: {other}."


@_on(r"incomplete (?:definition of )?type '(?:struct )?(\w+)'")
def _incomplete(match: re.Match, source: str, lines: Sequence[str]) -> str:
    header = header_of(match[1])
    return f"struct {match[1]} is defined in a header that is not included: add #include <{header}>." if header else ""


@_on(r"using the result of an assignment as a condition")
def _assignment(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "One = stores a value, and the condition is then that value. To compare, write ==."


@_on(r"BPF stack limit")
def _stack(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return (
        "A program has 512 bytes of stack for all its variables: make them smaller, or keep the data in a map "
        "(an array map with one entry is a common place)."
    )


@_on(r"built-in function '(__\w*[sdtx]f\w*)'|SSE register|floating point")
def _floating_point(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "eBPF has no floating point: count in whole numbers, for example in thousandths."


@_on(r"built-in function '(mem\w+|str\w+)'")
def _memory_function(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return (
        f"There is no {match[1]}() to call: the compiler can only unroll it when the length is a small constant. "
        "Write a loop with a fixed bound."
    )


@_on(r"incompatible integer to pointer conversion")
def _pointer(match: re.Match, source: str, lines: Sequence[str]) -> str:
    if not re.search(r"->\s*data(_end)?\b", source):
        return ""
    return "data and data_end are numbers in struct __sk_buff: write (void *)(long)skb->data to make a pointer of one."


@_on(r"no member named '(\w+)' in 'struct (\w+)'")
def _member(match: re.Match, source: str, lines: Sequence[str]) -> str:
    name, owner = match.groups()
    header = header_of(owner)
    if not header:
        return ""
    body = re.search(rf"struct {owner} \{{(.*?)^\}}", header_files()[header].read_text(), re.M | re.S)
    fields = re.findall(r"(\w+)(?:\[\w+\])?(?:\s*:\s*\d+)?\s*[;,]", body[1]) if body else []
    near = difflib.get_close_matches(name, fields, 1, 0.6)
    return f"struct {owner} has no {name}." + (f" Did you mean {near[0]}?" if near else "")


@_on(r"passing 'struct \(unnamed.*' to parameter of incompatible type '(const )?void \*'")
def _map_address(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "A helper takes the address of a map: write & before its name."


@_on(r"is a pointer; did you mean to use '->'")
def _arrow(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "Members of what a pointer points to are reached with ->, not with a dot."


@_on(r"expected '([})\]])'")
def _bracket(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return f"A bracket was opened and not closed: a {match[1]} is missing, here or before."


@_on(r"missing terminating '\"'|unterminated function-like macro")
def _quote(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return 'A text ends with a " on the same line, and a call with a ).'


@_on(r"(?i)unsupport(ed)? signed division")
def _division(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "eBPF divides unsigned numbers only: make both sides __u32 or __u64."


@_on(r"too many arg")
def _arguments(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "A function or helper takes at most five arguments; bpf_printk() has room for three values after its text."


@_on(r"does not return a value|non-void function")
def _no_return(match: re.Match, source: str, lines: Sequence[str]) -> str:
    return "A program answers with a verdict: let every way through it end with a return."
