"""Runs inside Pyodide: the core imports, one prebuilt object runs and is stepped, one packet crosses the simulator."""

import sys
from pathlib import Path

assert sys.platform == "emscripten", sys.platform

import netkit_edu as nk  # noqa: E402
from netkit_edu.engine import interpreter, maps  # noqa: E402
from netkit_edu.engine.skb import SkBuff  # noqa: E402
from netkit_edu.engine.world import World  # noqa: E402
from netkit_edu.program.elf import read_object  # noqa: E402

assert not {"scapy", "IPython", "ipywidgets", "ctypes"} & set(sys.modules)

PACKET = bytes.fromhex("4500001c00004000401100000a000102c00002021000003500080000")
FRAME = bytes(12) + b"\x08\x00" + PACKET

obj = read_object(Path("prebuilt.o").read_bytes())
code = obj.programs["count_and_drop"]
made = {name: maps.create(spec) for name, spec in obj.maps.items()}
print("verdict", interpreter.load(code, made).run(SkBuff(FRAME), World()))
(key,) = made["seen"].keys()
print("counted", int.from_bytes(made["seen"].lookup(key), "little"))
print("steps", sum(1 for _ in interpreter.load(code, made).step(SkBuff(FRAME), World())) > 3)

for backend in ("vm", "host"):
    try:
        nk.Lab(backend)
    except nk.BackendUnavailable as error:
        print(backend, error)
print("recorded", nk.on_linux("09.beside", lambda lab: None).label)

lab = nk.Lab("auto")
db = lab.pod("db", device="netkit")
print("fate", db.send(PACKET).fate.kind)
