"""What the API's arguments may be: each check returns the value, or says in one sentence which values are possible.

Only what no kernel would take, or what would leave something half-made, is judged here; the rest is the kernel's to
refuse, with its own errno.
"""

from __future__ import annotations

import enum
import ipaddress
import re

from netkit_edu.errors import UsageError

IFNAMSIZ = 16  # bytes of a device's name, with the terminating zero (include/uapi/linux/if.h)
_MAC = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2})*")


def whole_number(value, what: str, least: int = 0, most: int = 0xFFFF_FFFF) -> int:
    """Return ``value`` if it is a whole number from ``least`` to ``most``, else raise the `UsageError` for ``what``."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return int(value)
    raise UsageError(f"{what} is a number from {least} to {most}, not {value!r}")


def choice(kind: type[enum.IntEnum], value, what: str) -> int:
    """Return the number of an option: by name ("drop"), by enum member, or a bare number for the kernel to judge.

    Raises:
        UsageError: a name that ``kind`` does not have; the message lists those it has.
    """
    if isinstance(value, str) and value.upper() in kind.__members__:
        return int(kind[value.upper()])
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    raise UsageError(f"{what} is {' or '.join(repr(name.lower()) for name in kind.__members__)}, not {value!r}")


def device_name(value) -> str:
    """Return ``value`` if a device may have that name (dev_valid_name, net/core/dev.c, Linux 6.12).

    A "%", by which Linux chooses a number itself, is refused too: a lab's names are what its writer says.

    Raises:
        UsageError: no text, empty, longer than 15 bytes, or with a character that Linux does not take.
    """
    if not isinstance(value, str) or not value:
        raise UsageError(f"a name is text such as 'web', not {value!r}")
    if not value.isprintable() or any(c in "/:%" or c.isspace() for c in value) or value in (".", ".."):
        raise UsageError(f"{value!r} is no name for a device: leave out blanks, '/', ':' and '%'")
    if len(value.encode()) >= IFNAMSIZ:
        raise UsageError(f"{value!r} is {len(value.encode())} bytes long: a device's name has at most {IFNAMSIZ - 1}")
    return value


def mac_address(value) -> str:
    """Return ``value`` if it is hexadecimal bytes with colons; how many and which is for the kernel to judge."""
    if isinstance(value, str) and _MAC.fullmatch(value):
        return value
    raise UsageError(f"a MAC address is text such as '02:00:00:00:00:01', not {value!r}")


def ipv4_address(value) -> str:
    """Return ``value`` if it is an IPv4 address, such as "10.0.9.1"."""
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError as error:
        raise UsageError(f"an IPv4 address, such as 10.0.9.1, not {value!r}") from error


def ipv4_prefix(value) -> str:
    """Return ``value`` if it is an IPv4 address with its prefix length, such as "10.0.9.2/24"; /32 if it has none."""
    try:
        return ipaddress.IPv4Interface(str(value)).with_prefixlen
    except ValueError as error:
        raise UsageError(f"an IPv4 address with prefix length, such as 10.0.9.2/24, not {value!r}") from error
