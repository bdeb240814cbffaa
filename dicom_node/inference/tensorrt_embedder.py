"""The embedder on TensorRT, and the building of its plans: the only file that imports tensorrt and pycuda.

Written for TensorRT 10.3 and later (10.x and 11.x): strongly typed networks, named tensors, execute_async_v3. Every
call is listed with the document that defines it in docs/tensorrt-calls.md. Never run on a device so far.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pycuda.driver as cuda
import tensorrt as trt

from dicom_node.core.errors import BundleError, WorkerCrashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle

FLAGS: Final = "STRONGLY_TYPED, TF32"
"""How plans are built, as their key states it. TF32 is TensorRT's default for float32; the acceptance judges it."""

SLOTS: Final = 2  # one image runs while the next one is filled in; more would only wait
_FLOAT32_BYTES: Final = 4
_DYNAMIC: Final = -1


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a plan is bound to on this device: TensorRT's version, the GPU's name and SM, the CUDA driver's version."""

    tensorrt: str
    gpu: str
    sm: str
    cuda_driver: str


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build: the network, its input (name, shape), the workspace limit in bytes, an earlier timing cache.

    progress is called with one line whenever TensorRT has come a step further, from threads of its own.
    """

    onnx: Path
    input_name: str
    input_shape: tuple[int, ...]
    workspace_bytes: int
    timing_cache: bytes
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A serialised plan, and the timing cache that makes the next build of the same network quick."""

    plan: bytes
    timing_cache: bytes


class _Log(trt.ILogger):  # type: ignore[misc] # without TensorRT installed its types are Any
    """Keeps TensorRT's last error, in one line: its calls themselves only answer None or False."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last_error = "TensorRT gave no reason"

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR} and msg.strip():
            self.last_error = msg.strip().splitlines()[0][:300]


class _Progress(trt.IProgressMonitor):  # type: ignore[misc] # as above
    """Tells how far the outermost phase of a build has come; TensorRT calls it from several threads."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._tell = tell
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if not parent_phase:
            self._steps[phase_name] = num_steps
            self._tell(f"{phase_name}: 0 %")

    def step_complete(self, phase_name: str, step: int) -> bool:
        steps = self._steps.get(phase_name)
        if steps:
            self._tell(f"{phase_name}: {min(100, 100 * (step + 1) // steps)} %")
        return True

    def phase_finish(self, phase_name: str) -> None:
        if self._steps.pop(phase_name, None) is not None:
            self._tell(f"{phase_name}: 100 %")


class _Gpu:
    """The first GPU's primary context, the one that TensorRT's own runtime uses; current inside a `with` block."""

    def __init__(self) -> None:
        try:
            cuda.init()
            self.device = cuda.Device(0)
            self._context: Any = self.device.retain_primary_context()
        except cuda.Error as error:
            message = f"no usable CUDA device ({type(error).__name__}); is this user in the groups video and render?"
            raise BundleError(message) from None

    def __enter__(self) -> None:
        self._context.push()

    def __exit__(self, *_: object) -> None:
        cuda.Context.pop()

    def close(self) -> None:
        """Give the primary context back: it is released with the last reference to it."""
        self._context = None


def device_facts() -> DeviceFacts:
    """Return what a plan is bound to here. Raises BundleError where there is no GPU."""
    gpu = _Gpu()
    try:
        major, minor = gpu.device.compute_capability()
        number = int(cuda.get_driver_version())
        driver = f"{number // 1000}.{number % 1000 // 10}"
        return DeviceFacts(str(trt.__version__), str(gpu.device.name()), f"{major}.{minor}", driver)
    finally:
        gpu.close()


def build_plan(request: BuildRequest) -> BuiltPlan:
    """Build a plan for this device; takes minutes and most of the memory. Raises BundleError with TensorRT's reason."""
    gpu = _Gpu()
    try:
        with gpu:
            return _build(request)
    except cuda.Error as error:
        message = f"CUDA failed while the plan was built ({type(error).__name__}); free memory and build again"
        raise BundleError(message) from None
    finally:
        gpu.close()


def _build(request: BuildRequest) -> BuiltPlan:
    log = _Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(request.onnx)):
        reason = parser.get_error(0).desc() if parser.num_errors else log.last_error
        message = f"{request.onnx}: TensorRT cannot read it ({reason.splitlines()[0][:300]}); export it again"
        raise BundleError(message)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    config.set_flag(trt.BuilderFlag.TF32)
    monitor = _Progress(request.progress)
    config.progress_monitor = monitor
    earlier = config.create_timing_cache(request.timing_cache)
    if not config.set_timing_cache(earlier, ignore_mismatch=False):
        # It was made on another device or by another TensorRT: start a new one.
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    _fix_shape(builder, network, config, request)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        message = f"TensorRT could not build the plan ({log.last_error}); free memory, or lower --workspace-mib"
        raise BundleError(message)
    used = config.get_timing_cache()
    return BuiltPlan(bytes(plan), bytes(used.serialize()) if used is not None else b"")


def _fix_shape(builder: Any, network: Any, config: Any, request: BuildRequest) -> None:
    """Pin a network with named (dynamic) axes to the one shape that the bundle's preprocessing makes."""
    if _DYNAMIC not in tuple(network.get_input(0).shape):
        return
    profile = builder.create_optimization_profile()
    shape = request.input_shape
    profile.set_shape(request.input_name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        message = f"TensorRT refuses {request.input_name} of shape {shape}; export the network for that shape"
        raise BundleError(message)


@dataclass(slots=True)
class _Slot:
    """Room for one image on its way: page-locked host memory, device memory, and an event for when it is done."""

    host_in: NDArray[np.float32]
    host_out: NDArray[np.float32]
    device_in: Any
    device_out: Any
    done: Any


class TensorRtEmbedder:
    """A bundle's plan on TensorRT: one context, one stream, two images on their way at most; for one thread.

    plan: the serialised plan. Raises BundleError where TensorRT refuses it or its tensors are not the manifest's,
    WorkerCrashed where there is too little memory for it; both leave nothing allocated.
    """

    def __init__(self, bundle: Bundle, plan: bytes) -> None:
        table = bundle.manifest.embedder
        self._input, self._input_shape = table.input_name, tuple(table.input_shape)
        self._output, self._output_shape = table.output_name, tuple(table.output_shape)
        self._allocated = ExitStack()
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        self._stream: Any = None
        self._slots: list[_Slot] = []
        self._lost = False
        self._gpu = _Gpu()
        try:
            with self._gpu:
                self._load(plan)
                self._slots = [self._make_slot() for _ in range(SLOTS)]
            self._name = f"TensorRT {trt.__version__} {self._gpu.device.name()}"
        except cuda.Error as error:
            self.close()
            message = f"no room on the GPU for the plan ({type(error).__name__}); end other programs that use memory"
            raise WorkerCrashed(message) from None
        except (BundleError, WorkerCrashed):
            self.close()
            raise

    @property
    def runtime(self) -> str:
        """Name and version of what computes, as results state it."""
        return self._name

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features, float32 [rows, columns, channels], of an input float32 [1, 1, rows, columns].

        Raises BundleError where the shapes are not the manifest's, WorkerCrashed where the device fails: then this
        process must end, since its context is gone.
        """
        (features,) = self.embed_all([tensor])
        return features

    def embed_all(self, tensors: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the features of each input in order; while one image runs, the next is asked for and filled in.

        Errors as `embed`.
        """
        on_their_way: deque[_Slot] = deque()
        try:
            for number, tensor in enumerate(tensors):
                if len(on_their_way) == SLOTS:
                    yield self._finish(on_their_way.popleft())
                slot = self._slots[number % SLOTS]
                self._start(slot, tensor)
                on_their_way.append(slot)
            while on_their_way:
                yield self._finish(on_their_way.popleft())
        finally:
            # Where the caller stopped early, no slot may be filled in again before its copies have ended.
            while on_their_way and not self._lost:
                self._finish(on_their_way.popleft())

    def close(self) -> None:
        """Release everything. A lost device is left alone: freeing in it may hang, and the process ends anyway."""
        if self._lost:
            return
        with self._gpu:
            self._slots = []
            self._allocated.close()
            self._stream = None
            self._execution = None  # in this order: each belongs to the next
            self._engine = None
            self._runtime = None
        self._gpu.close()
        self._lost = True

    def _load(self, plan: bytes) -> None:
        log = _Log()
        self._runtime = trt.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            message = f"TensorRT {trt.__version__} cannot read the plan ({log.last_error}); {_BUILD}"
            raise BundleError(message)
        self._check_tensors()
        self._execution = self._engine.create_execution_context()
        if self._execution is None:
            message = f"no room on the GPU to run the plan ({log.last_error}); end other programs that use memory"
            raise WorkerCrashed(message)
        if not self._execution.set_input_shape(self._input, self._input_shape):
            message = f"the plan does not take {self._input} of shape {list(self._input_shape)}; {_BUILD}"
            raise BundleError(message)
        self._stream = cuda.Stream()

    def _check_tensors(self) -> None:
        """Compare the plan's named tensors with the manifest; an axis that was dynamic in the network fits any size."""
        engine = self._engine
        names = [str(engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        found = {name: (engine.get_tensor_mode(name), tuple(engine.get_tensor_shape(name))) for name in names}
        wanted = {
            self._input: (trt.TensorIOMode.INPUT, self._input_shape),
            self._output: (trt.TensorIOMode.OUTPUT, self._output_shape),
        }
        fits = found.keys() == wanted.keys()
        fits = fits and all(engine.get_tensor_dtype(name) == trt.DataType.FLOAT for name in names)
        fits = fits and all(found[n][0] == wanted[n][0] and _same(found[n][1], wanted[n][1]) for n in names)
        if not fits:
            shown = ", ".join(f"{name} {list(shape)}" for name, (_, shape) in found.items())
            message = f"the plan has {shown}, the manifest says otherwise or it is not float32; {_BUILD}"
            raise BundleError(message)

    def _make_slot(self) -> _Slot:
        return _Slot(
            host_in=self._host(self._input_shape),
            host_out=self._host(self._output_shape),
            device_in=self._device(self._input_shape),
            device_out=self._device(self._output_shape),
            done=cuda.Event(cuda.event_flags.DISABLE_TIMING),
        )

    def _host(self, shape: Sequence[int]) -> NDArray[np.float32]:
        memory: NDArray[np.float32] = cuda.pagelocked_empty(tuple(shape), np.float32)
        self._allocated.callback(memory.base.free)  # type: ignore[union-attr] # base is pycuda's allocation
        return memory

    def _device(self, shape: Sequence[int]) -> Any:
        memory = cuda.mem_alloc(int(np.prod(shape)) * _FLOAT32_BYTES)
        self._allocated.callback(memory.free)
        return memory

    def _start(self, slot: _Slot, tensor: NDArray[np.float32]) -> None:
        """Put an image on its way; nothing here waits for the device."""
        if tensor.shape != self._input_shape or tensor.dtype != np.float32:
            found, wanted = f"{tensor.dtype} {tensor.shape}", f"float32 {self._input_shape}"
            message = f"the preprocessing makes {found}, the plan takes {wanted}; the two do not fit"
            raise BundleError(message)
        with self._working():
            np.copyto(slot.host_in, tensor)
            cuda.memcpy_htod_async(slot.device_in, slot.host_in, self._stream)
            bound = self._execution.set_tensor_address(self._input, int(slot.device_in))
            bound = bound and self._execution.set_tensor_address(self._output, int(slot.device_out))
            if not bound or not self._execution.execute_async_v3(self._stream.handle):
                self._lost = True
                message = "TensorRT failed to start on an image"
                raise WorkerCrashed(message)
            cuda.memcpy_dtoh_async(slot.host_out, slot.device_out, self._stream)
            slot.done.record(self._stream)

    def _finish(self, slot: _Slot) -> NDArray[np.float32]:
        """Wait for an image and return a copy: the slot's memory is the next one's."""
        with self._working():
            slot.done.synchronize()
            return np.array(slot.host_out[0], dtype=np.float32)

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self._lost:
            message = "the engine was closed, or its device was lost"
            raise WorkerCrashed(message)
        try:
            with self._gpu:
                yield
        except cuda.Error as error:
            self._lost = True
            message = f"the GPU failed on an image ({type(error).__name__})"
            raise WorkerCrashed(message) from None


_BUILD: Final = "build it again with `dicom-node engine build`"


def _same(found: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(found) == len(wanted) and all(a in {b, _DYNAMIC} for a, b in zip(found, wanted, strict=True))
