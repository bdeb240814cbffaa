"""Sends files over one association as fast as a peer can, and times each: `python -m …ingest_sender PORT AE OUT FILES`.

One request after the other, PDUs of 128 KiB straight from the file's bytes, TCP_NODELAY: what it measures is the
receiver. DCMTK's senders are measured beside it.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

from tests.support.sender import Part10, read_part10
from tests.support.wire import RELEASE_RQ, RawPeer, associate_rq, c_store_rq, context, p_data, pdv, status_of

_PDU = 128 * 1024
_BATCH = 64  # pieces in one call: IOV_MAX is 1024, but the socket's buffer is small


def main(port: int, called: str, out: Path, files: list[Path]) -> int:
    """Send the files, write the seconds of each to `out`; 0 where all were answered 0x0000."""
    parts = [read_part10(file) for file in files]
    first = parts[0]
    seconds, bad = [], 0
    with RawPeer(port, timeout_s=120) as peer:
        contexts = context(1, first.sop_class_uid, (first.transfer_syntax_uid,))
        peer.send(associate_rq(contexts, called=called.encode(), calling=b"BENCH"))
        kind, body = peer.pdu()
        assert kind == 2, "the association was not accepted"
        room = min(_max_length(body) or _PDU, _PDU) - 6
        for part in parts:
            started = time.perf_counter()
            _send(peer, part, room)
            _, answer = peer.pdu()
            seconds.append(time.perf_counter() - started)
            bad += status_of(answer) != 0
        peer.send(RELEASE_RQ).pdu()
    out.write_text(json.dumps(seconds))
    return 1 if bad else 0


def _send(peer: RawPeer, part: Part10, room: int) -> None:
    view = memoryview(part.dataset)
    pieces: list[bytes | memoryview] = [p_data(pdv(c_store_rq(part.sop_instance_uid, part.sop_class_uid), 3))]
    for start in range(0, len(view), room):
        piece = view[start : start + room]
        last = 2 if start + room >= len(view) else 0
        pieces += [struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, 1, last), piece]
    for start in range(0, len(pieces), _BATCH):
        batch = pieces[start : start + _BATCH]
        sent = peer.sock.sendmsg(batch)
        if sent < sum(map(len, batch)):
            peer.sock.sendall(b"".join(batch)[sent:])


def _max_length(acceptance: bytes) -> int:
    """Return the longest PDU that the receiver takes, from its A-ASSOCIATE-AC."""
    offset = 68
    while offset + 4 <= len(acceptance):
        kind, length = struct.unpack_from(">BxH", acceptance, offset)
        if kind == 0x50 and acceptance[offset + 4] == 0x51:
            return int(struct.unpack_from(">I", acceptance, offset + 8)[0])
        offset += 4 + length
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]]))
