"""The exercise of chapter 07 that is all arithmetic: a checksum mended after one word of what it covers changed."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised
from netkit_edu.course.slips import Slip, explain
from netkit_edu.course.translation import ones_sum


@dataclass(frozen=True)
class Change:
    """A header's words, of which one changes: the checksum before, the word before and afterwards."""

    words: tuple[int, ...]
    place: int
    new: int

    @property
    def old(self) -> int:
        """The word before."""
        return self.words[self.place]

    @property
    def checksum(self) -> int:
        """The checksum before."""
        return _checksum(self.words)

    @property
    def right(self) -> int:
        """The checksum afterwards, all words added up anew."""
        return _checksum((*self.words[: self.place], self.new, *self.words[self.place + 1 :]))

    def __str__(self) -> str:
        return f"update({self.checksum:#06x}, {self.old:#06x}, {self.new:#06x})"


def _checksum(words: Iterable[int]) -> int:
    return ~ones_sum(b"".join(word.to_bytes(2, "big") for word in words)) & 0xFFFF


class Update(FunctionExercise):
    """A function that mends a checksum after one word changed, without the other words."""

    id = "07.checksum"
    arguments = ("checksum", "old", "new")
    slips = (
        Slip("no_carry", "A carry out of the 16 bits is added back in at the other end; here it got lost."),
        Slip(
            "no_complement",
            "The difference goes the wrong way. The old word leaves the *sum* and the new one enters it; the checksum "
            "is the sum's complement: turn it before you calculate, and turn the result.",
        ),
        Slip(
            "other_zero",
            "Almost: ones' complement has two zeros. Calculate with the sum, complement once at the end; adding to "
            "the checksum itself gives 0xffff where 0x0000 is right (RFC 1624 corrects RFC 1141 in this).",
        ),
        Slip(
            "plain_minus",
            "Subtracting `old` as an ordinary number loses what is carried or borrowed at the top. Add its complement "
            "instead, and add each carry in again at the bottom.",
        ),
        Slip("keeps_old", "The old word is still in the sum."),
        Slip("one_fold", "Adding the carry in can give another carry: go on until nothing is left above 16 bits."),
    )
    solution = """\
def update(checksum, old, new):
    words = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF
"""

    def cases(self, rng: random.Random) -> Iterable[Change]:
        """Yield changes of headers, with RFC 1624's own example and others that end at zero among them."""
        made = [Change((0x5555, 0xCD7A), 0, 0x3285)]  # RFC 1624, section 4: 0xdd2f becomes 0x0000
        for n in range(CASES - 1):
            words = tuple(rng.randrange(1, 0x10000) for _ in range(9))
            new = rng.randrange(0x10000)
            if n % 8 == 0:  # what is left after this word went in sums up to 0xffff: the checksum is 0
                new = _checksum(words[1:])
            elif n % 8 == 4:  # the carry of the three words gives another carry: ~checksum + ~old + new is 0x1ffff
                while (rest := 0x1FFFF - (~_checksum(words) & 0xFFFF) - (~words[0] & 0xFFFF)) > 0xFFFF:
                    words = tuple(rng.randrange(1, 0x10000) for _ in range(9))
                new = rest
            made.append(Change(words, 0, new))
        return made

    def expected(self, case: Change) -> str:
        """Return what adding up all words gives."""
        return f"{case.right:#06x}"

    def got(self, answer: object, case: Change) -> object:
        """Ask the learner's function."""
        said = answer(case.checksum, case.old, case.new)
        return f"{said:#06x}" if isinstance(said, int) else said

    def diagnose(self, misses: Misses) -> str:
        """Name what is no number of 16 bits, or the misunderstandings that give every wrong one."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return ""
        if any(not isinstance(miss.got, str) for miss in misses):
            return "Return a number."
        if words := explain(misses, self.slips, _update_model):
            return words
        if any(not 0 <= int(miss.got, 16) <= 0xFFFF for miss in misses):
            return "A checksum has 16 bits. Python's ~ makes a negative number: keep its lower 16 with `& 0xFFFF`."
        return ""


def _update_model(case: Change, *, no_carry=False, no_complement=False, other_zero=False,
                  plain_minus=False, keeps_old=False, one_fold=False) -> str:  # fmt: skip
    """Return what someone with these misunderstandings gets; without any, what is right."""
    old, new = case.old, case.new
    if plain_minus:
        return f"{case.checksum + old - new & 0xFFFF:#06x}"
    if other_zero:
        terms = (case.checksum, old, ~new & 0xFFFF)
    else:
        start = case.checksum if no_complement else ~case.checksum & 0xFFFF
        terms = (start, 0 if keeps_old else ~old & 0xFFFF, new)
    if one_fold:
        total = (sum(terms) & 0xFFFF) + (sum(terms) >> 16)
    else:
        total = sum(terms) & 0xFFFF if no_carry else ones_sum(struct.pack("!3H", *terms))
    return f"{total if no_complement or other_zero else ~total & 0xFFFF:#06x}"
