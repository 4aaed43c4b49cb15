"""What the compiler takes and no kernel would load as a packet program: said with the line, before anyone runs it."""

from __future__ import annotations

import difflib
import re

from netkit_edu.errors import CompileError
from netkit_edu.program import btf as b
from netkit_edu.program import elffile as e
from netkit_edu.program import opcodes as op
from netkit_edu.program.diagnostics import no_meaning, refuse
from netkit_edu.program.explain import GPL_LINE, wrong_context
from netkit_edu.program.object import Object, ProgramCode

# license_is_gpl_compatible(), include/linux/license.h
_GPL = {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
# helpers a packet program may have whose bpf_func_proto says gpl_only (net/core/filter.c, kernel/bpf/helpers.c; 6.12)
GPL_HELPERS = {
    op.HELPER_NUMBERS[f"bpf_{name}"]
    for name in (
        "trace_printk trace_vprintk perf_event_output fib_lookup check_mtu snprintf timer_init timer_set_callback "
        "timer_start timer_cancel probe_read_kernel probe_read_kernel_str probe_read_user probe_read_user_str "
        "get_current_task get_current_task_btf task_pt_regs copy_from_user_task get_branch_snapshot perf_event_read "
        "perf_event_read_value tcp_check_syncookie tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 "
        "tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6"
    ).split()
}

# libbpf's names of sections whose programs are BPF_PROG_TYPE_SCHED_CLS (libbpf 1.4, section_defs)
SECTIONS = ("netkit/peer", "netkit/primary", "tcx/ingress", "tcx/egress", "tc/ingress", "tc/egress", "tc", "classifier")
# the first words of its other sections: none of these programs takes a packet of this course's hooks
_OTHER_TYPES = set(
    "action cgroup cgroup_skb fentry fexit flow_dissector fmod_ret freplace iter kprobe kretprobe ksyscall kretsyscall "
    "lirc_mode2 lsm lsm_cgroup lwt_in lwt_out lwt_seg6local lwt_xmit netfilter perf_event raw_tp raw_tracepoint "
    "sk_lookup sk_msg sk_reuseport sk_skb socket sockops struct_ops syscall tp tp_btf tracepoint uprobe uretprobe "
    "usdt xdp".split()
)


def check(obj: Object, name: str) -> None:
    """Refuse an object without a program, with a program for another hook, or with a license that does not fit.

    Args:
        obj: the object with its ``source``.
        name: what messages call that text.

    Raises:
        CompileError: with the line, in the kernel's words where it has some.
    """
    _check_emptied(obj, name)
    if not obj.programs:
        raise _no_program(obj, name)
    for program in obj.programs.values():
        _check_section(obj, program, name)
        _check_context(obj, program, name)
        _check_license(obj, program, name)


def _check_emptied(obj: Object, name: str) -> None:
    """Refuse a program of which nothing is left: so clang 19 ends what C gives no meaning."""
    elf = e.ElfFile(obj.elf)
    for symbol in elf.symbols:
        lost = symbol.kind == e.STT_FUNC and not symbol.size and symbol.name not in obj.programs
        if lost and 0 < symbol.section < len(elf.sections) and elf.sections[symbol.section].name != ".text":
            raise no_meaning(_defined(obj.source, symbol.name), obj.source, name)


def _no_program(obj: Object, name: str) -> CompileError:
    functions = [one.name for one in obj.btf.types if one.kind == b.FUNC] if obj.btf else []
    for function in functions:
        if line := _defined(obj.source, function):
            return refuse(
                f"function {function} has no SEC, so the object holds no program",
                line,
                obj.source,
                name,
                'A program says where it belongs: write SEC("netkit/peer") or SEC("netkit/primary") before it.',
            )
    return CompileError(f'{name}: the text holds no program: write a function with SEC("netkit/peer") before it')


def _defined(source: str, function: str) -> int:
    """Return the line in which ``function`` is defined, 0 if it is not to be seen."""
    called = rf"\b{re.escape(function)}\s*\("
    match = re.search(called + r"[^;{}]*\)\s*\{", source) or re.search(called, source)
    return source.count("\n", 0, match.start()) + 1 if match else 0


def _check_section(obj: Object, program: ProgramCode, name: str) -> None:
    if program.section in SECTIONS:
        return
    written = re.search(rf'SEC\s*\(\s*"\??({re.escape(program.section)})"', obj.source)
    line = obj.source.count("\n", 0, written.start()) + 1 if written else _defined(obj.source, program.name)
    column = written.start(1) - obj.source.rfind("\n", 0, written.start(1)) if written else 0
    message = f'program {program.name} is in section "{program.section}"'
    raise refuse(message, line, obj.source, name, section_words(program.section), column)


def section_words(section: str) -> str:
    """Return what to say about a program in a section that is none of this course's hooks."""
    ours = (
        'write SEC("netkit/peer") or SEC("netkit/primary"); SEC("tcx/ingress"), SEC("tcx/egress") and SEC("tc") go too'
    )
    first = re.split(r"[/.]", section)[0]
    if first in _OTHER_TYPES:
        return f"That makes it a program of another type ({first}). A program here is a SCHED_CLS program: {ours}."
    hooks = [known for known in SECTIONS if known.startswith(f"{first}/")]
    if hooks:
        return f"There is no {section}: write {' or '.join(hooks)}."
    near = difflib.get_close_matches(section, SECTIONS, 1, 0.7)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}No hook has that name: {ours}."


def _check_context(obj: Object, program: ProgramCode, name: str) -> None:
    if obj.btf is None:
        return
    function = obj.btf[obj.btf.find(program.name, b.FUNC)]
    params = obj.btf[function.type].params if function.kind == b.FUNC else ()
    if not params:
        return
    context = obj.btf[obj.btf.resolve(params[0][1])]
    target = obj.btf[obj.btf.resolve(context.type)] if context.kind == b.PTR else None
    if target is None or target.kind not in (b.STRUCT, b.FWD, b.UNION) or target.name == "__sk_buff":
        return
    found = obj.btf.spell(obj.btf.resolve(context.type))
    line = _defined(obj.source, program.name) or _line(program, 0)
    raise refuse(f"program {program.name} takes {found} *", line, obj.source, name, wrong_context(found))


def _check_license(obj: Object, program: ProgramCode, name: str) -> None:
    if program.license in _GPL:
        return
    for slot, insn in enumerate(program.insns):
        if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER and insn.imm in GPL_HELPERS:
            helper = op.HELPER_NAMES[insn.imm]
            raise refuse(
                "cannot call GPL-restricted function from non-GPL compatible program",
                _line(program, slot),
                obj.source,
                name,
                f"The kernel gives {helper}() only to programs under a GPL-compatible license: add the line {GPL_LINE}",
            )


def _line(program: ProgramCode, slot: int) -> int:
    line = program.lines[slot] if slot < len(program.lines) else None
    return line.line if line is not None else 0
