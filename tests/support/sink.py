"""An audit record repository that takes syslog over TLS, and counts what it is sent (RFC 5425)."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


def make_certificate(folder: Path) -> Path:
    """Return a PEM file with a certificate for 127.0.0.1 and its key, made by OpenSSL."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is missing"
    file = folder / "sink.pem"
    line = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    line += ["-subj", "/CN=sink", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.returncode == 0
    key = file.read_text()
    if "CERTIFICATE" not in key or "PRIVATE KEY" not in key:  # some versions write the one over the other
        line[line.index("-keyout") + 1] = str(folder / "sink.key")
        subprocess.run(line, capture_output=True, check=True)
        file.write_text((folder / "sink.key").read_text() + file.read_text())
    return file


class Sink:
    """Listens while it is entered; `messages` are the syslog messages in the order in which they came."""

    def __init__(self, certificate: Path, port: int) -> None:
        self.messages: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._port = port
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.shutdown(socket.SHUT_RDWR)  # closing alone would leave it open while its reader waits

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
                sock = self._context.wrap_socket(plain, server_side=True)
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._read, args=(sock,), daemon=True).start()

    def _read(self, sock: ssl.SSLSocket) -> None:
        buffer = b""
        while True:
            try:
                part = sock.recv(1 << 16)
            except (OSError, ValueError):
                return
            if not part:
                return
            buffer += part
            while (space := buffer.find(b" ")) > 0 and len(buffer) >= space + 1 + int(buffer[:space]):
                end = space + 1 + int(buffer[:space])
                self.messages.append(buffer[space + 1 : end])
                buffer = buffer[end:]
