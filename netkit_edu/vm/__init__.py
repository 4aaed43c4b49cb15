"""Real Linux without root: a door inside QEMU, restored from a snapshot in about a tenth of a second.

`machine.open_vm` starts one; `image` makes the snapshot the first time, `cache` keeps it.
"""
