"""Decoding in a child process with limits: a poison image costs one child, never the worker.

The child is started as ``python -m dicom_node.part10.sandbox``, reads one request a line of length-prefixed UTF-8 and
answers with a JSON header and the raw greys. Nothing is pickled, and the parent believes no size it has not checked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import dicom_node
from dicom_node.core.errors import NotAnalysable, WorkerCrashed
from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.core.radiograph import Radiograph

if TYPE_CHECKING:
    from types import TracebackType

_LENGTH: Final = struct.Struct(">I")
_MAX_HEADER: Final = 4096
_MAX_TEXT: Final = 300
# 256 MiB of stored pixels at one byte each become at most twice that in grey.
_MAX_GREY_BYTES: Final = 512 * 1024 * 1024
_PIPE_BYTES: Final = 1 << 20  # a radiograph in fifteen turns instead of two hundred
_START_S: Final = 60.0
_OUT_OF_MEMORY: Final = "out-of-memory"
_DECODE: Final = "dicom_node.part10.decode:decode"


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one decode may use: address space in bytes, processor and wall-clock time in seconds.

    The defaults hold a 256 MiB image with its copies; the largest radiograph needs about a second.
    """

    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 10
    wall_s: float = 15.0


class DecodePool:
    """One child process that decodes one file after another, started with the first and again after a failure.

    May be shared between threads, which then take turns. Use as a context manager, or call `close`.
    """

    def __init__(self, limits: DecodeLimits | None = None, target: str = _DECODE) -> None:
        self._limits = limits or DecodeLimits()
        self._target = target  # "module:function", so that a test can put a crash in the decoder's place
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, path: Path) -> Radiograph:
        """Return the radiograph in a Part 10 file.

        Raises NotAnalysable as `decode.decode` does, and with UNDECODABLE where the child died, ran out of memory or
        took too long; WorkerCrashed where no child could be started at all.
        """
        with self._lock:
            child = self._running()
            try:
                return self._ask(child, path)
            except _ChildFailedError as failure:
                self._kill()
                raise NotAnalysable(Reason(ReasonCode.UNDECODABLE, failure.text)) from None
            except NotAnalysable:
                raise
            except BaseException:  # interrupted half-way: what is left in the pipe belongs to no one
                self._kill()
                raise

    def warm_up(self) -> None:
        """Start the child now, so that the first image does not wait for it; raises WorkerCrashed."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the child, if there is one; the pool may be used again afterwards."""
        with self._lock:
            self._kill()

    def __enter__(self) -> DecodePool:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._kill()
        limits = self._limits
        command = [sys.executable, "-m", __spec__.name, self._target]
        command += [str(limits.memory_bytes), str(limits.cpu_s), str(limits.wall_s)]
        # Started in the folder that holds the package, so that the child runs the very code that its parent runs.
        root = Path(dicom_node.__file__).parent.parent
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a codec's complaints may quote the file
            cwd=root,
            env=environment,
            bufsize=0,
        )
        self._child = child
        with contextlib.suppress(OSError):  # above a user's share of pipe memory the usual size must do
            fcntl.fcntl(_descriptor(child.stdout), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            _read_header(child, time.monotonic() + _START_S)
        except _ChildFailedError as failure:
            self._kill()
            message = f"the decoder could not be started ({failure.text}); check the installation"
            raise WorkerCrashed(message) from None
        return child

    def _ask(self, child: subprocess.Popen[bytes], path: Path) -> Radiograph:
        deadline = time.monotonic() + self._limits.wall_s
        _send(child, os.fsencode(path.resolve()))
        return self._receive(child, deadline)

    def _receive(self, child: subprocess.Popen[bytes], deadline: float) -> Radiograph:
        answer = _read_header(child, deadline)
        if "rows" in answer:
            rows, columns = int(answer["rows"]), int(answer["columns"])
            if min(rows, columns) < 1 or rows * columns * 2 > _MAX_GREY_BYTES:
                raise _ChildFailedError(_DAMAGED)
            pixels = _read(child, rows * columns * 2, deadline)
            return Radiograph(np.frombuffer(pixels, dtype=np.uint16).reshape(rows, columns))
        if answer.get("code") == _OUT_OF_MEMORY:
            raise _ChildFailedError(_NO_MEMORY)
        try:
            reason = Reason(ReasonCode(answer["code"]), str(answer["text"])[:_MAX_TEXT])
        except (KeyError, ValueError):
            raise _ChildFailedError(_DAMAGED) from None
        raise NotAnalysable(reason)

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class _ChildFailedError(Exception):
    """The child can no longer be trusted; `text` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


_DAMAGED: Final = "the decoder answered with something that is no image"
_TOO_LONG: Final = "the decoder took too long"
_NO_MEMORY: Final = "the decoder ran out of memory"


def _send(child: subprocess.Popen[bytes], message: bytes) -> None:
    try:
        os.write(_descriptor(child.stdin), _LENGTH.pack(len(message)) + message)
    except BrokenPipeError:
        raise _ChildFailedError(_ending(child)) from None


def _read_header(child: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_read(child, _LENGTH.size, deadline))
    if length > _MAX_HEADER:
        raise _ChildFailedError(_DAMAGED)
    try:
        answer = json.loads(_read(child, length, deadline))
    except ValueError:
        raise _ChildFailedError(_DAMAGED) from None
    if not isinstance(answer, dict):
        raise _ChildFailedError(_DAMAGED)
    return answer


def _read(child: subprocess.Popen[bytes], size: int, deadline: float) -> bytearray:
    """Read exactly this many bytes; the deadline also ends a child that keeps its pipe open and says nothing."""
    buffer = bytearray(size)
    view, descriptor, done = memoryview(buffer), _descriptor(child.stdout), 0
    waiter = select.poll()  # select.select() fails beyond descriptor 1023
    waiter.register(descriptor, select.POLLIN)
    while done < size:
        left = deadline - time.monotonic()
        if left <= 0.0 or not waiter.poll(left * 1000.0):
            raise _ChildFailedError(_TOO_LONG)
        count = os.readv(descriptor, [view[done:]])
        if count == 0:
            raise _ChildFailedError(_ending(child))
        done += count
    return buffer


def _descriptor(stream: Any) -> int:
    return int(stream.fileno())


def _ending(child: subprocess.Popen[bytes]) -> str:
    try:
        status = child.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        return _DAMAGED
    if status in {-signal.SIGXCPU, -signal.SIGALRM}:
        return _TOO_LONG
    if status < 0:
        return f"the decoder ended with signal {-status}"
    return f"the decoder ended with status {status}"


def _serve(arguments: list[str]) -> None:
    """Be the child: answer requests until the parent closes the pipe."""
    import importlib  # noqa: PLC0415 - the child's own imports, of no use to the parent
    import logging  # noqa: PLC0415
    import resource  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    target, memory, cpu, wall = arguments
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the patient's image
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the closed pipe ends us
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not land between the answers
    warnings.simplefilter("ignore")  # pydicom's warnings quote values
    logging.disable(logging.CRITICAL)
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    _answer(answers, {"ready": True})
    while (request := _request()) is not None:
        # The processor limit counts a process's whole life, so it is moved on for every image.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(usage.ru_utime + usage.ru_stime) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (spent + int(cpu), resource.RLIM_INFINITY))
        # Ends a decode that sleeps although its parent is gone; the parent's own deadline comes first.
        signal.setitimer(signal.ITIMER_REAL, float(wall) + 1.0)
        _decode_one(answers, function, Path(os.fsdecode(request)))
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _decode_one(answers: int, function: Any, path: Path) -> None:
    try:
        grey = np.ascontiguousarray(function(path).grey, dtype=np.uint16)
    except NotAnalysable as error:
        _answer(answers, {"code": error.reason.code.value, "text": error.reason.text[:_MAX_TEXT]})
    except MemoryError:
        _answer(answers, {"code": _OUT_OF_MEMORY})
    else:
        _answer(answers, {"rows": grey.shape[0], "columns": grey.shape[1]}, grey.data.cast("B"))


def _request() -> bytes | None:
    prefix = sys.stdin.buffer.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    return sys.stdin.buffer.read(int(_LENGTH.unpack(prefix)[0]))


def _answer(descriptor: int, header: dict[str, Any], body: memoryview | None = None) -> None:
    text = json.dumps(header).encode()
    os.write(descriptor, _LENGTH.pack(len(text)) + text)
    while body:
        body = body[os.write(descriptor, body) :]


if __name__ == "__main__":
    _serve(sys.argv[1:])
