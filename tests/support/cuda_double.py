"""A strict double of CUDA as `pycuda.driver` shows it: one drawn device, and what it holds.

What runs on a stream runs when somebody waits for it and not before: until then an output holds NaN. What a device
would crash on, or answer nonsense to, raises Refused. What to break is in `STATE`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import time
import weakref
from dataclasses import dataclass, field

import numpy as np

_FIRST_ADDRESS = 0x7F00_0000_0000
_PAGE = 1 << 20


class Refused(AssertionError):
    """The caller broke a rule of the API; a device would fail, crash or answer nonsense."""


@dataclass
class State:
    """One device: its version and name, what lives on it, and what is to go wrong."""

    version: str = "10.3.0"
    gpu: str = "Orin"
    sm: tuple[int, int] = (8, 7)
    cuda_driver: int = 12060
    device: dict[int, np.ndarray] = field(default_factory=dict)
    hosts: dict[int, int] = field(default_factory=dict)
    freed: set[int] = field(default_factory=set)
    next_address: int = _FIRST_ADDRESS
    stack: list[object] = field(default_factory=list)
    alive: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    log: list[str] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)
    """Name of a step ("mem_alloc", "context", "enqueue", "lost", "hang", "abort") and after how many uses it fails."""
    error: float = 0.0
    """Relative error that the device makes in every feature."""

    def fails(self, step: str) -> bool:
        if step not in self.fail:
            return False
        self.fail[step] -= 1
        return self.fail[step] < 0

    def left(self) -> list[str]:
        """Return what was not released."""
        gc.collect()
        kinds = sorted(type(item).__name__ for item in self.alive)
        return [*kinds, *["device memory"] * len(self.device), *["page-locked memory"] * len(self.hosts)]


def _from_environment() -> State:
    """A worker process is told what to break in its environment."""
    return State(**json.loads(os.environ.get("TENSORRT_DOUBLE", "{}")))


STATE = _from_environment()


def reset(**changes) -> State:
    """Start with a fresh device."""
    STATE.__init__(**changes)
    return STATE


def need_context() -> None:
    if not STATE.stack:
        message = "no CUDA context is current in this thread"
        raise LogicError(message)


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001 - pycuda's own name
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):  # noqa: A001 - pycuda's own name
    pass


class event_flags:  # noqa: N801 - pycuda's own name
    DEFAULT, BLOCKING_SYNC, DISABLE_TIMING = 0, 1, 2


def init(flags=0) -> None:
    assert flags == 0
    if STATE.fails("init"):
        message = "cuInit failed: no CUDA-capable device is detected"
        raise RuntimeError(message)


def get_driver_version() -> int:
    return STATE.cuda_driver


class Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> str:
        return STATE.gpu

    def compute_capability(self) -> tuple[int, int]:
        return STATE.sm

    def retain_primary_context(self) -> Context:
        return Context(_retained=True)


class Context:
    """The primary context: released with its last reference, which must not be while it is current."""

    def __init__(self, *, _retained: bool) -> None:
        assert _retained
        STATE.alive.add(self)

    def push(self) -> None:
        STATE.stack.append(self)

    @staticmethod
    def pop() -> None:
        if not STATE.stack:
            message = "cannot pop context from empty stack"
            raise LogicError(message)
        STATE.stack.pop()


class Stream:
    def __init__(self, flags: int = 0) -> None:
        need_context()
        assert flags == 0
        STATE.alive.add(self)
        self._pending: list = []
        self.handle = id(self) & 0xFFFF_FFFF
        STREAMS[self.handle] = weakref.ref(self)

    def enqueue(self, action) -> None:
        self._pending.append(action)

    def run(self, until=lambda: False) -> None:
        """Do what was asked for, in order, as far as somebody waits for it."""
        if STATE.fails("hang"):
            time.sleep(3600)
        if STATE.fails("abort"):
            os.abort()
        while self._pending and not until():
            if STATE.fails("lost"):
                message = "cuEventSynchronize failed: unspecified launch failure"
                raise LaunchError(message)
            self._pending.pop(0)()

    def synchronize(self) -> None:
        need_context()
        self.run()


STREAMS: dict[int, weakref.ref] = {}


class Event:
    def __init__(self, flags: int = 0) -> None:
        need_context()
        assert flags in {event_flags.DEFAULT, event_flags.BLOCKING_SYNC, event_flags.DISABLE_TIMING}
        STATE.alive.add(self)
        self._stream: Stream | None = None
        self._reached = False

    def record(self, stream: Stream) -> None:
        need_context()
        self._stream, self._reached = stream, False
        stream.enqueue(self._reach)

    def _reach(self) -> None:
        self._reached = True

    def synchronize(self) -> None:
        need_context()
        if self._stream is None:
            message = "an event is waited for that was never recorded"
            raise Refused(message)
        self._stream.run(until=lambda: self._reached)


class DeviceAllocation:
    def __init__(self, address: int) -> None:
        self._address = address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        need_context()
        if self._address not in STATE.device:
            message = "device memory is freed twice"
            raise Refused(message)
        del STATE.device[self._address]
        STATE.freed.add(self._address)


def mem_alloc(size: int) -> DeviceAllocation:
    need_context()
    if type(size) is not int or size <= 0:
        message = f"mem_alloc takes a positive int, not {size!r}"
        raise Refused(message)
    if STATE.fails("mem_alloc"):
        message = "cuMemAlloc failed: out of memory"
        raise MemoryError(message)
    address = STATE.next_address
    STATE.next_address += (size // _PAGE + 2) * _PAGE
    STATE.device[address] = np.full(size, 0xFF, dtype=np.uint8)  # as float32: NaN
    return DeviceAllocation(address)


class PagelockedHostAllocation:
    """Owns the memory of a page-locked array."""

    def __init__(self, shape, dtype) -> None:
        self._size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._memory = ctypes.create_string_buffer(self._size)
        self.address = ctypes.addressof(self._memory)
        self.__array_interface__ = {
            "shape": tuple(shape),
            "typestr": np.dtype(dtype).str,
            "data": (self.address, False),
            "version": 3,
        }
        STATE.hosts[self.address] = self._size

    def free(self) -> None:
        need_context()
        if STATE.hosts.pop(self.address, None) is None:
            message = "page-locked memory is freed twice"
            raise Refused(message)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0) -> np.ndarray:
    need_context()
    assert order == "C"
    assert mem_flags == 0
    if STATE.fails("pagelocked_empty"):
        message = "cuMemHostAlloc failed: out of memory"
        raise MemoryError(message)
    array = np.asarray(PagelockedHostAllocation(shape, dtype))
    array.view(np.uint8).fill(0xFF)
    return array


def _pinned(array: np.ndarray) -> np.ndarray:
    address = array.__array_interface__["data"][0]
    if address not in STATE.hosts or not array.flags.c_contiguous:
        message = "an asynchronous copy needs page-locked memory that was not freed"
        raise Refused(message)
    return array.reshape(-1).view(np.uint8)


def on_device(address: int, size: int) -> np.ndarray:
    memory = STATE.device.get(address)
    if memory is None:
        message = "freed device memory" if address in STATE.freed else "an address that was never allocated"
        raise Refused(message)
    if memory.nbytes != size:
        message = f"{size} bytes for {memory.nbytes} bytes of device memory"
        raise Refused(message)
    return memory


def memcpy_htod_async(dest: DeviceAllocation, src: np.ndarray, stream: Stream) -> None:
    need_context()
    source = _pinned(src)
    asked = source.tobytes()
    target = on_device(int(dest), source.nbytes)

    def copy() -> None:
        if source.tobytes() != asked:
            message = "the page-locked input was written to before its copy was waited for"
            raise Refused(message)
        target[:] = source

    stream.enqueue(copy)


def memcpy_dtoh_async(dest: np.ndarray, src: DeviceAllocation, stream: Stream) -> None:
    need_context()
    target = _pinned(dest)
    source = on_device(int(src), target.nbytes)
    target.fill(0xFF)  # NaN: whoever reads before waiting reads nonsense
    stream.enqueue(lambda: np.copyto(target, source))
