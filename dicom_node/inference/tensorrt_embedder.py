"""The embedder on TensorRT, and the building of its plans: the only file that imports tensorrt and pycuda.

Written for TensorRT 10.3 and later (10.x and 11.x): strongly typed networks, named tensors, execute_async_v3. Every
call is listed with the document that defines it in docs/tensorrt-calls.md. Never run on a device so far.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, SupportsInt, TypeVar

import numpy as np
import pycuda.driver as cuda
import tensorrt as trt

from dicom_node.core.errors import BundleError, WorkerCrashed
from dicom_node.inference.plans import BuiltPlan, DeviceFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.plans import BuildRequest

T = TypeVar("T")

FLAGS: Final = "STRONGLY_TYPED, no TF32"
"""How plans are built, as their key states it. TF32, TensorRT's default, rounds a convolution's inputs to 11 bits."""

SLOTS: Final = 2  # one image runs while the next one is filled in; more would only wait
_FLOAT32_BYTES: Final = 4
_DYNAMIC: Final = -1


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

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
        if not parent_phase:
            self._steps[phase_name] = int(num_steps)
            self._tell(f"{phase_name}: 0 %")

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        steps = self._steps.get(phase_name)
        if steps:
            self._tell(f"{phase_name}: {min(100, 100 * (int(step) + 1) // steps)} %")
        return True

    def phase_finish(self, phase_name: str) -> None:
        if self._steps.pop(phase_name, None) is not None:
            self._tell(f"{phase_name}: 100 %")


def _started(kind: Callable[[trt.ILogger], T], log: _Log) -> T:
    """Return TensorRT's Builder or Runtime; what its bindings raise where the library answers nothing is TypeError."""
    try:
        return kind(log)
    except TypeError:
        message = f"TensorRT does not start here ({log.last_error}); do its version and the driver fit together?"
        raise BundleError(message) from None


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
    """Return what a plan is bound to here. Raises BundleError where there is no GPU, or none that answers."""
    gpu = _Gpu()
    try:
        major, minor = gpu.device.compute_capability()
        number = int(cuda.get_driver_version())
        driver = f"{number // 1000}.{number % 1000 // 10}"
        return DeviceFacts(str(trt.__version__), str(gpu.device.name()), f"{major}.{minor}", driver)
    except cuda.Error as error:
        message = f"the CUDA device does not say what it is ({type(error).__name__}); start this machine again"
        raise BundleError(message) from None
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
    builder = _started(trt.Builder, log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(request.onnx)):
        reason = parser.get_error(0).desc() if parser.num_errors else log.last_error
        message = f"{request.onnx}: TensorRT cannot read it ({reason.splitlines()[0][:300]}); export it again"
        raise BundleError(message)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)
    monitor = _Progress(request.progress)
    config.progress_monitor = monitor
    earlier = config.create_timing_cache(request.timing_cache)
    if earlier is None or not config.set_timing_cache(earlier, ignore_mismatch=False):
        # It is damaged, or was made on another device or by another TensorRT: start a new one.
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    _fix_shape(builder, network, config, request)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        message = f"TensorRT could not build the plan ({log.last_error}); free memory, or lower --workspace-mib"
        raise BundleError(message)
    used = config.get_timing_cache()
    return BuiltPlan(_bytes(plan), _bytes(used.serialize()) if used is not None else b"")


def _bytes(memory: Any) -> bytes:
    """Return a copy of what an IHostMemory holds; it has the buffer interface, which its signatures do not tell."""
    return bytes(memory)


def _fix_shape(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, request: BuildRequest
) -> None:
    """Pin a network with named (dynamic) axes to the one shape that the bundle's preprocessing makes."""
    if _DYNAMIC not in _sides(network.get_input(0).shape):
        return
    profile = builder.create_optimization_profile()
    shape = trt.Dims(list(request.input_shape))
    profile.set_shape(request.input_name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        message = (
            f"TensorRT refuses {request.input_name} of shape {request.input_shape}; export the network for that shape"
        )
        raise BundleError(message)


@dataclass(slots=True)
class _Slot:
    """Room for one image on its way: page-locked host memory, device memory, and an event for when it is done."""

    host_in: NDArray[np.float32]
    host_out: NDArray[np.float32]
    device_in: Any
    device_out: Any
    done: Any


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A plan that is ready to run. Each of TensorRT's objects belongs to the one before it."""

    runtime: trt.Runtime
    engine: trt.ICudaEngine
    execution: trt.IExecutionContext
    stream: Any


class TensorRtEmbedder:
    """A bundle's plan on TensorRT: one context, one stream, two images on their way at most; for one thread at a time.

    plan: the serialised plan. Raises BundleError where TensorRT refuses it or its tensors are not the manifest's,
    WorkerCrashed where there is too little memory for it; both leave nothing allocated.
    """

    def __init__(self, bundle: Bundle, plan: bytes) -> None:
        table = bundle.manifest.embedder
        self._input, self._input_shape = table.input_name, tuple(table.input_shape)
        self._output, self._output_shape = table.output_name, tuple(table.output_shape)
        self._allocated = ExitStack()
        self._loaded: _Loaded | None = None
        self._slots: list[_Slot] = []
        self._lost = False
        self._gpu = _Gpu()
        try:
            with self._gpu:
                self._loaded = self._load(plan)
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
        self._lost = True
        with suppress(cuda.Error), self._gpu:  # a device that fails in this has nothing left to release
            self._slots = []
            self._allocated.close()
            self._loaded = None
        self._gpu.close()

    def _load(self, plan: bytes) -> _Loaded:
        log = _Log()
        runtime = _started(trt.Runtime, log)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            message = f"TensorRT {trt.__version__} cannot read the plan ({log.last_error}); {_BUILD}"
            raise BundleError(message)
        self._check_tensors(engine)
        execution = engine.create_execution_context()
        if execution is None:
            message = f"no room on the GPU to run the plan ({log.last_error}); end other programs that use memory"
            raise WorkerCrashed(message)
        if not execution.set_input_shape(self._input, self._input_shape):
            message = f"the plan does not take {self._input} of shape {list(self._input_shape)}; {_BUILD}"
            raise BundleError(message)
        return _Loaded(runtime, engine, execution, cuda.Stream())

    def _check_tensors(self, engine: trt.ICudaEngine) -> None:
        """Compare the plan's named tensors with the manifest; an axis that was dynamic in the network fits any size."""
        names = [str(engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        found = {name: (engine.get_tensor_mode(name), _sides(engine.get_tensor_shape(name))) for name in names}
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
        with self._working() as loaded:
            np.copyto(slot.host_in, tensor)
            cuda.memcpy_htod_async(slot.device_in, slot.host_in, loaded.stream)
            bound = loaded.execution.set_tensor_address(self._input, int(slot.device_in))
            bound = bound and loaded.execution.set_tensor_address(self._output, int(slot.device_out))
            if not bound or not loaded.execution.execute_async_v3(loaded.stream.handle):
                self._lost = True
                message = "TensorRT failed to start on an image"
                raise WorkerCrashed(message)
            cuda.memcpy_dtoh_async(slot.host_out, slot.device_out, loaded.stream)
            slot.done.record(loaded.stream)

    def _finish(self, slot: _Slot) -> NDArray[np.float32]:
        """Wait for an image and return a copy: the slot's memory is the next one's."""
        with self._working():
            slot.done.synchronize()
            return np.array(slot.host_out[0], dtype=np.float32)

    @contextmanager
    def _working(self) -> Iterator[_Loaded]:
        if self._lost or self._loaded is None:
            message = "the engine was closed, or its device was lost"
            raise WorkerCrashed(message)
        try:
            with self._gpu:
                yield self._loaded
        except cuda.Error as error:
            self._lost = True
            message = f"the GPU failed on an image ({type(error).__name__})"
            raise WorkerCrashed(message) from None


_BUILD: Final = "build it again with `dicom-node engine build`"


def _sides(shape: trt.Dims) -> tuple[int, ...]:
    return tuple(int(shape[index]) for index in range(len(shape)))


def _same(found: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(found) == len(wanted) and all(a in {b, _DYNAMIC} for a, b in zip(found, wanted, strict=True))
