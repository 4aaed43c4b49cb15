"""One plain sentence for each of the commonest mistakes in a cell: what it means, and what to do."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable

from netkit_edu.program import opcodes as op
from netkit_edu.program.files import header_files

GPL_LINE = 'char _license[] SEC("license") = "GPL";'

_SHORT_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s32": "__s32", "s64": "__s64"}
_VERDICTS = ("NEXT", "PASS", "DROP", "REDIRECT")  # of netkit, and of tcx
_LIKE = {"SHOT": "DROP", "STOLEN": "DROP", "ABORTED": "DROP", "OK": "PASS", "UNSPEC": "NEXT", "TX": "REDIRECT"}
_CONTEXTS = "struct (xdp_md|sk_buff|xdp_buff|bpf_sock\\w*|sk_msg_md|pt_regs)"
Explain = Callable[[re.Match, str, str], str]
_EXPLANATIONS: list[tuple[re.Pattern, Explain]] = []


def explain(message: str, source: str, column: int = 0) -> str:
    """Return a sentence about a compiler's message, "" if it is none of the common ones.

    Args:
        message: the compiler's words (clang 14 to 22).
        source: the line it is about.
        column: the character it is about, counted from 1; 0 if unknown.
    """
    rest = source[column - 1 :] if column else ""
    for pattern, sentence in _EXPLANATIONS:
        if match := pattern.search(message):
            if said := sentence(match, source, rest):
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
def _semicolon_after_struct(match: re.Match, source: str, rest: str) -> str:
    return f"A {match[1]} definition ends with a semicolon: put one after the closing brace before this line."


@_on(r"expected ';'")
def _semicolon(match: re.Match, source: str, rest: str) -> str:
    return "A statement or declaration ends with a semicolon: put one here."


@_on(r"type specifier missing|expected parameter declarator|expected ';' after top level declarator")
def _section_unknown(match: re.Match, source: str, rest: str) -> str:
    if "SEC" not in source:
        return ""
    return "SEC is not known here: add #include <bpf/bpf_helpers.h>, or include nothing at all to get everything."


@_on(r"'([^']+)' file not found")
def _no_such_header(match: re.Match, source: str, rest: str) -> str:
    near = difflib.get_close_matches(match[1], header_files(), 1, 0.82)
    hint = f"Did you mean <{near[0]}>? " if near else ""
    return f"{hint}A cell can include these headers, and no other file of this machine: {', '.join(header_files())}."


@_on(r"use of undeclared identifier '([^']+)'(?:; did you mean '([^']+)')?")
def _undeclared(match: re.Match, source: str, rest: str) -> str:
    name, near = match.groups()
    if near:
        return f"Nothing here is called {name}. Did you mean {near}?"
    if name in _SHORT_TYPES:
        return f"Nothing here is called {name}: the type is called {_SHORT_TYPES[name]}."
    if said := _no_such_verdict(name):
        return said
    if header := header_of(name):
        return f"{name} is defined in a header that this text does not include: add #include <{header}>."
    return f"Nothing called {name} is declared before this line: declare it, or look for a slip in its name."


def _no_such_verdict(name: str) -> str:
    """Return what to write in the place of a verdict that its hook does not have, "" for any other name."""
    family, _, word = name.partition("_")
    if family not in ("NETKIT", "TCX") or word in _VERDICTS:
        return ""
    meant = _LIKE.get(word) or next(iter(difflib.get_close_matches(word, _VERDICTS, 1)), "")
    has = ", ".join(f"{family}_{verdict}" for verdict in _VERDICTS)
    return f"There is no {name}; there are {has}." + (f" Did you mean {family}_{meant}?" if meant else "")


@_on(r"(?:call to undeclared|implicit declaration of|implicitly declaring)(?: library)? function '(\w+)'")
def _implicit(match: re.Match, source: str, rest: str) -> str:
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
def _wrong_context(match: re.Match, source: str, rest: str) -> str:
    return wrong_context(f"struct {match[1]}")


def wrong_context(found: str) -> str:
    """Return what to say about a program whose context is not ``struct __sk_buff *``."""
    other = {
        "struct xdp_md": "that is the context of an XDP program",
        "struct sk_buff": "that is the kernel's own structure, which a program cannot reach",
    }.get(found, "that is not what the kernel passes")
    return f"A netkit or tc program takes struct __sk_buff *, not {found} *: {other}."


@_on(r"incomplete (?:definition of )?type '(?:struct )?(\w+)'")
def _incomplete(match: re.Match, source: str, rest: str) -> str:
    header = header_of(match[1])
    return f"struct {match[1]} is defined in a header that is not included: add #include <{header}>." if header else ""


@_on(r"using the result of an assignment as a condition")
def _assignment(match: re.Match, source: str, rest: str) -> str:
    return "= stores, == compares: the condition is the value just stored. To compare, write ==."


@_on(r"BPF stack limit")
def _stack(match: re.Match, source: str, rest: str) -> str:
    return (
        "A program has 512 bytes of stack for all its variables: make them smaller, or keep the data in a map "
        "(an array map with one entry is a common place)."
    )


@_on(r"built-in function '(__\w*[sdtx]f\w*)'|SSE register|floating point")
def _floating_point(match: re.Match, source: str, rest: str) -> str:
    return "eBPF has no floating point: count in whole numbers, for example in thousandths."


@_on(r"built-in function '(mem\w+|str\w+)'")
def _memory_function(match: re.Match, source: str, rest: str) -> str:
    return (
        f"There is no {match[1]}() to call: the compiler can only unroll it when the length is a small constant. "
        "Write a loop with a fixed bound."
    )


@_on(r"incompatible integer to pointer conversion")
def _pointer(match: re.Match, source: str, rest: str) -> str:
    if re.search(r"->\s*data(_end)?\b", source):
        return (
            "data and data_end are numbers in struct __sk_buff: write (void *)(long)skb->data to make a pointer of one."
        )
    if name := re.match(r"(?:\w+\s*=\s*)?([A-Za-z_]\w*)\s*[,;)]", rest):
        return f"This wants an address: write &{name[1]}."
    return "This wants an address: put the number into a variable, and write & before its name."


@_on(r"incompatible pointer to integer conversion|comparison between pointer and integer")
def _number(match: re.Match, source: str, rest: str) -> str:
    return "One of these is an address, and a number is wanted: *p is the number that stands where p points."


@_on(r"no member named '(\w+)' in 'struct (\w+)'")
def _member(match: re.Match, source: str, rest: str) -> str:
    name, owner = match.groups()
    header = header_of(owner)
    if not header:
        return ""
    body = re.search(rf"struct {owner} \{{(.*?)^\}}", header_files()[header].read_text(), re.M | re.S)
    fields = re.findall(r"(\w+)(?:\[\w+\])?(?:\s*:\s*\d+)?\s*[;,]", body[1]) if body else []
    near = difflib.get_close_matches(name, fields, 1, 0.6)
    return f"struct {owner} has no {name}." + (f" Did you mean {near[0]}?" if near else "")


@_on(r"passing 'struct \(unnamed.*' to parameter of incompatible type '(const )?void \*'")
def _map_address(match: re.Match, source: str, rest: str) -> str:
    return "A helper takes the address of a map: write & before its name."


@_on(r"is a pointer; did you mean to use '->'")
def _arrow(match: re.Match, source: str, rest: str) -> str:
    return "Members of what a pointer points to are reached with ->, not with a dot."


@_on(r"expected '([})\]])'")
def _bracket(match: re.Match, source: str, rest: str) -> str:
    return f"A bracket was opened and not closed: a {match[1]} is missing, here or before."


@_on(r"missing terminating '\"'|unterminated function-like macro")
def _quote(match: re.Match, source: str, rest: str) -> str:
    return 'A text ends with a " on the same line, and a call with a ).'


@_on(r"(?i)unsupport(ed)? signed division")
def _division(match: re.Match, source: str, rest: str) -> str:
    return "eBPF divides unsigned numbers only: make both sides __u32 or __u64."


@_on(r"too many arg")
def _arguments(match: re.Match, source: str, rest: str) -> str:
    return "A function or helper takes at most five arguments; bpf_printk() has room for three values after its text."


@_on(r"does not return a value|non-void function")
def _no_return(match: re.Match, source: str, rest: str) -> str:
    return "A program answers with a verdict: let every way through it end with a return."


def _suspicious(pattern: str, sentence: str) -> None:
    _on(pattern)(lambda match, source, rest: sentence)


# What compiles and hardly ever means what it says; a warning without a sentence here is not shown.
_suspicious(r"equality comparison result unused", "== compares, = stores: nothing is stored here. To store, write =.")
_suspicious(
    r"(expression|comparison) result unused", "The value is computed and thrown away: store it, or take the line away."
)
_suspicious(r"statement has empty body|loop has empty body", "The ; ends the statement here: take it away.")
_suspicious(
    r"uninitialized when|is used uninitialized",
    "Nothing was stored in the variable on this way, so it holds anything: give it a value where it is declared.",
)
_suspicious(
    r"lower precedence than [=!<>]=?; ",
    "C compares first and masks afterwards: write brackets around the part with &, | or ^.",
)
_suspicious(r"operator '(<<|>>)' has lower precedence", "C adds first and shifts afterwards: write brackets.")
_suspicious(r"'&&' within '\|\|'", "&& is taken together before ||: write brackets around what belongs together.")
_suspicious(r"logical not is only applied", "! turns only what stands next to it: write !(a == b), or a != b.")
_suspicious(
    r"use of logical '(&&|\|\|)' with constant operand",
    "The constant alone is a condition that never changes: write the whole comparison again, as in a == 5 || a == 6.",
)
_suspicious(r"misleading indentation", "Only the next statement belongs to the if or the loop: put braces around all.")
_suspicious(r"dangling else", "An else belongs to the nearest if above it: put braces around what each if governs.")
_suspicious(
    r"is always (true|false)|always evaluate(s)? to ",
    "This condition never changes. Is the number too large for the type, or an & or * too many or too few?",
)
_suspicious(
    r"changes value from", "The number does not fit the type and is cut: take a larger type, or another number."
)
_suspicious(r"array index .* past the end", "An array of n elements has the indices 0 to n - 1.")
_suspicious(
    r"shift count (>=|is negative)", "Shift by 0 to 31 in a __u32, by 0 to 63 in a __u64: make the value wider."
)
_suspicious(
    r"division by zero|remainder by zero",
    "C has no result for a division by 0, and the compiler may drop what follows.",
)
_suspicious(
    r"incompatible pointer types",
    "The two sides point to different types, and the bytes would be read as something else: take the same type.",
)
