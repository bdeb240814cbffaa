"""A bare upper layer in Python, no product: `python -m tests.benchmarks.ingest_bare PORT FOLDER`.

Socket > file > fdatasync > rename > sync of the folder > answer: what the language and two flushes cost when nothing
else is done. No ledger, no digest, no look at the data set, no deadline, no cap; each context is accepted as proposed.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_node.part10.preface import preface

_MAX_PDU = 128 * 1024
_BUFFER = 512 * 1024
_RELEASE_RP = struct.pack(">BxI4x", 6, 4)
_APPLICATION, _CONTEXT, _ACCEPTED, _SYNTAX, _USER = 0x10, 0x20, 0x21, 0x40, 0x50
_CLASS, _INSTANCE, _MESSAGE_ID = 0x0002, 0x1000, 0x0110


class _Buffer:
    """What was read from a socket and not taken yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._view = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0

    def fill(self) -> None:
        """Read once, behind what is left; what was taken before is no longer valid. Raises EOFError."""
        rest = self._end - self._start
        self._view[:rest] = self._view[self._start : self._end]
        count = self._sock.recv_into(self._view[rest:])
        if not count:
            raise EOFError
        self._start, self._end = 0, rest + count

    def take(self, count: int) -> memoryview:
        """Return `count` bytes, read as far as they are not there."""
        while self.waiting < count:
            self.fill()
        self._start += count
        return self._view[self._start - count : self._start]

    @property
    def waiting(self) -> int:
        """The bytes that are there."""
        return self._end - self._start

    def some(self, most: int) -> memoryview:
        """Return what is there, up to so many bytes."""
        return self.take(min(most, self.waiting))


class _Peer(threading.Thread):
    def __init__(self, sock: socket.socket, folder: Path, synced: int) -> None:
        super().__init__(daemon=True)
        self._sock, self._folder, self._synced = sock, folder, synced
        self._buffer = _Buffer(sock)
        self._syntaxes: dict[int, str] = {}
        self._left = 0  # of the current PDU

    def run(self) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._sock:
            while True:
                try:
                    kind, length = struct.unpack(">BxI", self._buffer.take(6))
                except (EOFError, ConnectionError):
                    return
                if kind == 4:  # P-DATA
                    self._left = length
                    self._store()
                elif kind == 1:  # A-ASSOCIATE-RQ
                    self._sock.sendall(self._acceptance(bytes(self._buffer.take(length))))
                else:
                    self._sock.sendall(_RELEASE_RP)
                    return

    def _acceptance(self, body: bytes) -> bytes:
        items = [_item(_APPLICATION, b"1.2.840.10008.3.1.1.1")]
        for kind, value in _items(body, 68):
            if kind == _CONTEXT:
                syntax = next(name for part, name in _items(value, 4) if part == _SYNTAX)
                self._syntaxes[value[0]] = syntax.decode().rstrip("\0")
                items.append(_item(_ACCEPTED, bytes((value[0], 0, 0, 0)) + _item(_SYNTAX, syntax)))
        limits = _item(0x51, struct.pack(">I", _MAX_PDU)) + _item(0x52, b"1.2.826.0.1.3680043.8.498.1")
        payload = b"\0\1\0\0" + body[4:36] + bytes(32) + b"".join(items) + _item(_USER, limits)
        return struct.pack(">BxI", 2, len(payload)) + payload

    def _store(self) -> None:
        """Take one C-STORE-RQ with its data set, write that down durably, and answer."""
        parts: list[bytes] = []
        context = self._receive(lambda pieces: parts.extend(map(bytes, pieces)))
        command = dict(_elements(b"".join(parts)))
        sop_class, uid = (command[element].rstrip(b"\0").decode() for element in (_CLASS, _INSTANCE))
        temporary, target = (str(self._folder / f"{uid}.{suffix}") for suffix in ("tmp", "dcm"))
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        os.write(descriptor, preface(sop_class, uid, self._syntaxes[context]))
        self._receive(lambda pieces: _write(descriptor, pieces))
        os.fdatasync(descriptor)
        os.close(descriptor)
        os.rename(temporary, target)  # noqa: PTH104 - as the node does
        os.fsync(self._synced)
        self._sock.sendall(_response(context, command))

    def _receive(self, write: Callable[[list[memoryview]], None]) -> int:
        """Hand on all of a command set or data set, as many pieces at once as one read brought; returns its context."""
        buffer, pieces = self._buffer, list[memoryview]()

        def have(count: int) -> None:
            while buffer.waiting < count:
                if pieces:
                    write(pieces)
                    pieces.clear()
                buffer.fill()

        while True:
            if not self._left:
                have(6)
                (self._left,) = struct.unpack(">2xI", buffer.take(6))
            have(6)
            length, context, control = struct.unpack(">IBB", buffer.take(6))
            self._left -= length + 4
            length -= 2
            while length:
                have(1)
                pieces.append(buffer.some(length))
                length -= len(pieces[-1])
            if control & 2:
                write(pieces)
                return int(context)


def _write(descriptor: int, pieces: list[memoryview]) -> None:
    if os.writev(descriptor, pieces) != sum(map(len, pieces)):
        message = "a short write: the disk is full"
        raise OSError(message)


def _items(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start < len(body):
        kind, length = struct.unpack_from(">BxH", body, start)
        yield kind, body[start + 4 : start + 4 + length]
        start += 4 + length


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(command):
        element, length = struct.unpack_from("<2xHI", command, start)
        yield element, command[start + 8 : start + 8 + length]
        start += 8 + length


def _response(context: int, command: dict[int, bytes]) -> bytes:
    values = {
        _CLASS: command[_CLASS],
        0x0100: b"\x01\x80",
        0x0120: command[_MESSAGE_ID],
        0x0800: b"\1\1",
        0x0900: b"\0\0",
        _INSTANCE: command[_INSTANCE],
    }
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in values.items())
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return struct.pack(">BxIIBB", 4, len(body) + 6, len(body) + 2, context, 3) + body


def main(port: int, folder: Path) -> None:
    """Serve each connection in a thread of its own, for ever."""
    synced = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            _Peer(listener.accept()[0], folder, synced).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
