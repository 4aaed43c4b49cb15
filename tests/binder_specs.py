"""Run by the Python that has py-rattler: parse each conda spec given as an argument strictly, exit at a bad one."""

import sys

from rattler import MatchSpec

for text in sys.argv[1:]:
    try:
        print(MatchSpec(text, strict=True))
    except Exception as error:  # noqa: BLE001 - whatever the parser raises is the answer
        sys.exit(f"{text!r}: {error}")
