"""Peers that stall, lie, flood and vanish (C1 to C13), each case against whichever receiver it is given."""

from __future__ import annotations

import select
import ssl
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from dicom_node.dimse.pdu import HEADER
from tests.benchmarks.survive_receivers import CALLED, Crowd
from tests.benchmarks.survive_table import Case, Sight
from tests.support.wire import (
    ABORTED,
    CR,
    EXPLICIT,
    RawPeer,
    associate_rq,
    c_echo_rq,
    c_store_rq,
    context,
    p_data,
    pdv,
)
from tests.unit.part10.test_header import a_radiograph, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.survive_receivers import Receiver, Tls
    from tests.benchmarks.survive_table import Scale

STORE = context(1, CR, (EXPLICIT,))
REQUEST = associate_rq(STORE, called=CALLED.encode())
#: A data set up to the value of its pixel data, which are 4 GB long.
_BEGUN = encoded(a_radiograph())[:-28] + b"\xe0\x7f\x10\0OW\0\0\xf0\xff\xff\xff"
_ADDRESSES = 40
_HONEST_S = 1.0


class Honest:
    """The C-ECHOs of an honest peer."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._taken: list[float | None] = []

    def ask(self) -> None:
        """Ask once."""
        self._taken.append(self._receiver.echo_s())

    @property
    def served(self) -> bool:
        """Whether each was answered within a second."""
        return all(taken is not None and taken <= _HONEST_S for taken in self._taken)

    def __str__(self) -> str:
        answered = [taken for taken in self._taken if taken is not None]
        slowest = f", slowest {max(answered) * 1e3:.0f} ms" if answered else ""
        return f"C-ECHO {len(answered)} of {len(self._taken)}{slowest}"


def _with_after(receiver: Receiver, text: str, *, held: bool) -> Sight:
    after = receiver.after()
    return Sight(f"{text}; {after}" if after else text, held and not after)


def _watched(first: bytes) -> Callable[[Receiver, Scale], Sight]:
    """Return the case of many peers that send these bytes and no more, renewed as they are closed."""

    def see(receiver: Receiver, scale: Scale) -> Sight:
        honest, end = Honest(receiver), time.monotonic() + scale.watch_s
        with Crowd(receiver.port, _ADDRESSES, first) as crowd:
            crowd.grow(scale.peers)
            while time.monotonic() < end:
                honest.ask()
                time.sleep(0.5)
                crowd.renew()
        return _with_after(receiver, str(honest), held=honest.served)

    return see


def _slow(receiver: Receiver, _scale: Scale) -> Sight:
    """Send a byte a second of a request on 20 connections, for up to 16 seconds."""
    honest, gone, began = Honest(receiver), "none dropped in 16 s", time.monotonic()
    with Crowd(receiver.port, _ADDRESSES) as crowd:
        crowd.grow(20)
        for number in range(16):
            crowd.say(REQUEST[number : number + 1])
            honest.ask()
            time.sleep(1.0)
            crowd.drop_closed()
            if crowd.closed == 20:
                gone = f"dropped after {time.monotonic() - began:.0f} s"
                break
            gone = f"{crowd.closed} of 20 dropped in 16 s"
    held = honest.served and crowd.closed == 20
    return _with_after(receiver, f"{gone}; {honest}", held=held)


def _absurd_request(receiver: Receiver, _scale: Scale) -> Sight:
    """Announce an association request of 4 GiB and send up to 600 MB of it, for 8 seconds at most."""
    before, taken, end = receiver.forget_peak(), 0, time.monotonic() + 8.0
    with suppress(OSError), RawPeer(receiver.port, timeout_s=2.0) as peer:
        peer.send(HEADER.pack(1, 0xFFFFFFFF))
        while taken < 600 and time.monotonic() < end and not _has_answered(peer):
            peer.send(bytes(1 << 20))
            taken += 1
    grown = receiver.grown_mb(before)
    return _with_after(receiver, f"{_cut(taken, 600)}, {grown:+.0f} MB", held=grown <= 8.0 and taken < 600)


def _has_answered(peer: RawPeer) -> bool:
    """Tell whether the receiver has said anything or closed: what is sent then is thrown away."""
    return bool(select.select([peer.sock], [], [], 0)[0])


def _cut(sent_mb: float, most_mb: float) -> str:
    return f"cut at {sent_mb:.0f} MB" if sent_mb < most_mb else f"not cut at {sent_mb:.0f} MB"


def _lies(receiver: Receiver, _scale: Scale) -> Sight:
    """Send, on an association each, a PDU of 64 MiB, a PDV that is longer than its PDU, and one shorter than itself."""
    lies = (HEADER.pack(4, 64 << 20) + bytes(65536), HEADER.pack(4, 20) + b"\0\0\xff\xff\1\3" + bytes(14),
            HEADER.pack(4, 6) + b"\0\0\0\0\1\3")  # fmt: skip
    answers = [_answer(receiver, lie) for lie in lies]
    return _with_after(receiver, ", ".join(answers), held=set(answers) == {"A-ABORT"})


def _answer(receiver: Receiver, lie: bytes) -> str:
    try:
        with RawPeer(receiver.port, timeout_s=4.0) as peer:
            peer.associate(STORE, called=CALLED.encode()).send(lie)
            kind, _ = peer.pdu()
    except TimeoutError:
        return "no answer in 4 s"
    except (AssertionError, OSError):
        return "closed"
    return {ABORTED: "A-ABORT", 0: "closed"}.get(kind, f"PDU of type {kind}")


def _endless(receiver: Receiver, scale: Scale) -> Sight:
    """Send a data set without end, until it is cut or the bench has had enough; what is left of it is counted."""
    before, kept, sent, end = receiver.forget_peak(), receiver.kept_bytes(), 0, time.monotonic() + 30.0
    block, begun = p_data(pdv(bytes(16370), 0)) * 64, p_data(pdv(_BEGUN, 0))
    with suppress(OSError, AssertionError), RawPeer(receiver.port, timeout_s=5.0) as peer:
        peer.associate(STORE, called=CALLED.encode()).send(p_data(pdv(c_store_rq("1.2.3.4"), 3)) + begun)
        while sent * len(block) < scale.endless_mb * 1e6 and time.monotonic() < end and not _has_answered(peer):
            peer.send(block)
            sent += 1
    sent_mb, grown = sent * len(block) / 1e6, receiver.grown_mb(before)
    time.sleep(1.0)
    left = (receiver.kept_bytes() - kept) / 1e6
    cut = sent_mb < scale.endless_mb and not receiver.ended
    text = f"{_cut(sent_mb, scale.endless_mb)}, {grown:+.0f} MB, {max(left, 0):.0f} MB left on disk"
    return _with_after(receiver, text, held=cut and grown <= 32.0 and left < 16.0)


def _flood(receiver: Receiver, _scale: Scale) -> Sight:
    """Open 200 associations a second from 20 addresses for five seconds, and keep them all till then."""
    end = time.monotonic() + 5.0
    with Crowd(receiver.port, 20, REQUEST, network=2) as crowd:
        while time.monotonic() < end:
            crowd.grow(40)
    began = time.monotonic()
    while receiver.echo_s() is None and time.monotonic() - began < 60.0 and receiver.alive():
        time.sleep(0.1)
    recovered = time.monotonic() - began
    return _with_after(receiver, f"served {recovered:.1f} s after it", held=recovered <= 5.0)


def _fuzz(receiver: Receiver, scale: Scale) -> Sight:
    """Send what an honest peer sends with a few bytes changed or missing, each on a connection of its own."""
    dice, before, sent = Random(12), receiver.forget_peak(), 0  # noqa: S311 - drawn, and every time the same
    parts = (REQUEST, p_data(pdv(c_echo_rq(), 3)), p_data(pdv(c_store_rq("1.2.3"), 3)), p_data(pdv(bytes(64), 2)))
    end = time.monotonic() + 60.0
    while sent < scale.fuzzed and time.monotonic() < end and receiver.alive():
        data = bytearray(b"".join(parts))
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with suppress(OSError), RawPeer(receiver.port, timeout_s=1.0) as peer:
            peer.send(bytes(data[: dice.randint(1, len(data))]))
        sent += 1
    grown = receiver.grown_mb(before)
    return _with_after(receiver, f"{sent} sent, {grown:+.0f} MB", held=grown <= 32.0 and receiver.alive())


def _resets(receiver: Receiver, scale: Scale) -> Sight:
    """Reset connections before, in and after the request, and in the middle of an instance."""
    receiver.echo_s()
    time.sleep(0.5)
    threads = receiver.threads()
    middle = p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(bytes(999), 0))[:500]
    for number in range(scale.resets):
        with suppress(OSError, AssertionError):
            peer = RawPeer(receiver.port, timeout_s=1.0)
            with peer:
                peer.send((b"", REQUEST[:50], REQUEST, REQUEST)[number % 4])
                if number % 4 == 3:
                    peer.pdu()
                    peer.send(middle)
                peer.reset()
    time.sleep(2.0)
    more = receiver.threads() - threads
    return _with_after(receiver, f"threads {more:+d}", held=more <= 0)


def _tls(receiver: Receiver, scale: Scale, tls: Tls) -> Sight:
    """Let 50 clients connect to the TLS port and say nothing, while an honest one makes its handshake and C-ECHO."""
    honest, end, taken, asked = tls_client(tls), time.monotonic() + scale.watch_s, [], 0
    with Crowd(receiver.port, _ADDRESSES) as crowd:
        crowd.grow(50)
        while time.monotonic() < end:
            asked, began = asked + 1, time.monotonic()
            with suppress(OSError, AssertionError), RawPeer(receiver.port, "127.0.0.9", 3.0) as peer:
                peer.secure(honest).associate(context(1) + context(3), called=CALLED.encode())
                taken += [time.monotonic() - began] if peer.echo() == 0 else []
            time.sleep(0.5)
            crowd.renew()
    slowest = f", slowest {max(taken) * 1e3:.0f} ms" if taken else ""
    held = len(taken) == asked and max(taken) <= _HONEST_S and receiver.alive()
    return Sight(f"handshake and C-ECHO {len(taken)} of {asked}{slowest}", held)


def tls_client(tls: Tls) -> ssl.SSLContext:
    """Return a client with a certificate of its own, that believes the receiver's."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(tls.ca)
    made.load_cert_chain(tls.client.certificate, tls.client.key)
    return made


def cases(tls: Tls | None) -> list[Case]:
    """Return the cases; that of TLS where there are certificates."""
    echo = "C-ECHO within 1 s, always"
    found = [
        Case("C1", "silent peers, renewed", echo, _watched(b"")),
        Case("C2", "peers that stall after 7 bytes, renewed", echo, _watched(REQUEST[:7])),
        Case("C3", "20 peers, a byte a second", f"dropped within 10 s; {echo}", _slow),
        Case("C4", "request of 4 GiB", "cut, +8 MB at most", _absurd_request),
        Case("C5", "three lengths that do not fit", "A-ABORT", _lies),
        Case("C6", "data set without end", "cut at the cap, +32 MB at most, nothing left", _endless),
        Case("C10", "200 associations/s for 5 s", "served 5 s after it", _flood),
        Case("C12", "changed bytes of a whole exchange", "it lives, +32 MB at most", _fuzz),
        Case("C13", "resets in four states", "no thread is left", _resets),
    ]
    if tls is not None:
        see = lambda receiver, scale: _tls(receiver, scale, tls)  # noqa: E731 - the certificates go with it
        found.append(
            Case("C8", "50 silent clients of the TLS port", "handshake and C-ECHO within 1 s", see, secure=True)
        )
    return found
