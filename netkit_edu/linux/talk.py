"""Conversations with rtnetlink through the door: requests and answers inside a batch.

The kernel works a request off while it is sent, so the answers wait on the socket when the call returns. Only a dump
that does not fit one answer needs another round trip.
"""

from __future__ import annotations

from collections.abc import Iterator

from netkit_edu.errors import KernelError
from netkit_edu.linux.door import Batch, Data, Door, Result
from netkit_edu.linux.netlink import NLM_F_ACK, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, Message, message, refusal, split
from netkit_edu.linux.rtnetlink import Request
from netkit_edu.uapi import Errno

MSG_DONTWAIT = 0x40
ANSWER = 1 << 15  # bytes: no netlink answer is longer
_MORE = 8  # reads of one further round trip


class Answer:
    """What the kernel answers to one request; `messages` once its batch has run."""

    def __init__(self, door: Door, sock: int, request: Request, seq: int):
        self.door, self.sock, self.request, self.seq = door, sock, request, seq
        self._parts: list[tuple[Result, Data]] = []

    def write(self, batch: Batch, reads: int, buffer: int) -> None:
        """Append the operations to a batch: send the request, then read ``reads`` times into ``buffer``."""
        sent = message(self.request.type, self.request.flags, self.seq, self.request.fixed, self.request.attrs)
        batch.call("sendto", self.sock, batch.put(sent), len(sent), 0, 0, 0)
        self._read(batch, reads, buffer)

    def _read(self, batch: Batch, reads: int, buffer: int) -> None:
        for _ in range(reads):
            got = batch.call("recvfrom", self.sock, buffer, ANSWER, MSG_DONTWAIT, 0, 0, must=False)
            self._parts.append((got, batch.read(buffer, got, ANSWER)))

    def messages(self) -> list[bytes]:
        """Return the bodies of what was answered.

        Raises:
            KernelError: the request was refused; ``extack`` has the kernel's words.
        """
        wants_end = self.request.flags & NLM_F_ACK or self.request.flags & NLM_F_DUMP == NLM_F_DUMP
        while True:
            found = list(self._own())
            for answer in found:
                if error := refusal(answer):
                    if error.errno == Errno.EBUSY and self.request.flags & NLM_F_DUMP == NLM_F_DUMP:
                        return self._again()  # an earlier dump of this socket was not read to its end
                    raise error
            ended = any(answer.type in (NLMSG_ERROR, NLMSG_DONE) for answer in found)
            bodies = [answer.body for answer in found if answer.type not in (NLMSG_ERROR, NLMSG_DONE)]
            if ended or bodies and not wants_end:
                return bodies
            if self._parts[-1][0].errno:
                raise KernelError("ENODATA", hint="rtnetlink gave no answer")
            batch = self.door.batch()
            self._read(batch, _MORE, batch.room(ANSWER))
            batch.run()

    def _own(self) -> Iterator[Message]:
        for got, data in self._parts:
            if got.done and not got.errno:
                yield from (answer for answer in split(data.value) if answer.seq == self.seq)

    def _again(self) -> list[bytes]:
        self._parts.clear()
        batch = self.door.batch()
        buffer = batch.room(ANSWER)
        self._read(batch, _MORE, buffer)
        self._parts.clear()
        self.write(batch, _MORE, buffer)
        batch.run()
        return self.messages()


class Talk:
    """The requests of one batch, which share a buffer."""

    def __init__(self, door: Door, first_seq: int, batch: Batch | None = None):
        self.door = door
        self.batch = door.batch() if batch is None else batch
        self._seq = first_seq
        self._buffer = self.batch.room(ANSWER)

    def ask(self, sock: int, request: Request, reads: int = 2) -> Answer:
        """Append a request on a netlink socket; ``reads`` is how many answers are expected."""
        self._seq += 1
        answer = Answer(self.door, sock, request, self._seq)
        answer.write(self.batch, reads, self._buffer)
        return answer

    @property
    def next_seq(self) -> int:
        """The number with which another conversation may go on."""
        return self._seq
