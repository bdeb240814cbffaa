"""A strict double of `tensorrt`: it computes with ONNX Runtime, on the drawn device of `cuda_double`.

Plans carry the network and the version and GPU they were made for. Anything that is not modelled here (removed calls,
binding indices, precision flags, calibrators) raises AttributeError, as it does on TensorRT 10 and 11, or Refused.
`tests/support/tensorrt_modules.py` puts both doubles in the modules' place.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from tests.support.cuda_double import STATE, STREAMS, Refused, need_context, on_device

_MAGIC = b"DOUBLE-PLAN"


class Dims(list):
    """A shape; a list converts to it, a tuple does not."""

    def __init__(self, shape: list[int]) -> None:
        assert type(shape) is list
        super().__init__(shape)


class DataType(enum.Enum):
    FLOAT, HALF, INT8, INT32 = range(4)


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag(enum.Enum):
    TF32, FP16, INT8, DEBUG = range(4)


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self.is_constructed = True


class IProgressMonitor:
    def __init__(self) -> None:
        self.is_constructed = True


def _told(logger: ILogger, text: str) -> None:
    if not getattr(logger, "is_constructed", False):
        message = "a logger whose base class was not initialised"
        raise Refused(message)
    logger.log(ILogger.Severity.ERROR, text)


def _start(logger: ILogger) -> None:
    """Fail as the bindings do where the library gives no object."""
    if STATE.fails("start"):
        _told(logger, "CUDA initialization failure with error: 35")
        message = "pybind11::init(): factory function returned nullptr"
        raise TypeError(message)


class _Owned:
    """Whatever TensorRT makes: made in a context, released with its last reference."""

    def __init__(self) -> None:
        need_context()
        STATE.alive.add(self)


class Builder(_Owned):
    def __init__(self, logger: ILogger) -> None:
        _start(logger)
        super().__init__()
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        if flags != 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            message = "the network is not (only) strongly typed"
            raise Refused(message)
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        if network.onnx is None or config.workspace is None:
            message = "a build without a parsed network or a workspace limit"
            raise Refused(message)
        STATE.log.append("build, TF32" if BuilderFlag.TF32 in config.flags else "build")
        if STATE.fails("build"):
            _told(self.logger, "[virtualMemoryBuffer.cpp::resizePhysical] OutOfMemory (no memory for 1024 bytes)")
            return None
        shape = config.shape_of(network.get_input(0))
        for name, steps in (("Building", 3), ("Tactics", 2)):
            config.report(name, "" if name == "Building" else "Building", steps)
        config.cache.content = _stamp() + b"timings"
        header = {"version": STATE.version, "gpu": STATE.gpu, "shape": shape, "dynamic": config.profile is not None}
        return _MAGIC + json.dumps(header).encode() + b"\n" + network.onnx


def _stamp() -> bytes:
    return f"{STATE.version} {STATE.gpu}\n".encode()


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: DataType


class INetworkDefinition(_Owned):
    def __init__(self) -> None:
        super().__init__()
        self.onnx: bytes | None = None

    def get_input(self, index: int) -> _Tensor:
        return _tensors(onnx.load_from_string(self.onnx).graph.input)[index]


def _tensors(values) -> list[_Tensor]:
    kinds = {onnx.TensorProto.FLOAT: DataType.FLOAT, onnx.TensorProto.FLOAT16: DataType.HALF}
    return [
        _Tensor(
            value.name,
            tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim),
            kinds[value.type.tensor_type.elem_type],
        )
        for value in values
    ]


class _ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser(_Owned):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        super().__init__()
        assert logger.is_constructed
        self._network = network
        self._errors: list[_ParserError] = []

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        with open(model, "rb") as stream:  # noqa: PTH123 - a path as TensorRT takes it
            content = stream.read()
        try:
            onnx.checker.check_model(onnx.load_from_string(content))
        except Exception:  # noqa: BLE001 - whatever it is, it is not parsed
            self._errors.append(_ParserError("Failed to parse ONNX model"))
            return False
        self._network.onnx = content
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return self._errors[index]


class IOptimizationProfile(_Owned):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, input, min, opt, max) -> None:  # noqa: A002 - TensorRT's own names
        assert all(type(shape) is Dims for shape in (min, opt, max))
        assert min == opt == max
        self.shapes[input] = tuple(opt)


class ITimingCache(_Owned):
    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class IBuilderConfig(_Owned):
    def __init__(self) -> None:
        super().__init__()
        self.workspace: int | None = None
        self.cache: ITimingCache | None = None
        self.profile: IOptimizationProfile | None = None
        self.progress_monitor: IProgressMonitor | None = None
        self.flags = {BuilderFlag.TF32}  # TensorRT's default

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_flag(self, flag: BuilderFlag) -> None:
        if flag in {BuilderFlag.FP16, BuilderFlag.INT8}:
            message = f"{flag.name} on a strongly typed network: the precision is the network's"
            raise Refused(message)
        self.flags.add(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        assert type(pool_size) is int
        assert pool_size > 0
        self.workspace = pool_size

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if serialized_timing_cache and b"\n" not in serialized_timing_cache:
            return None  # a null pointer in C++: no device ever wrote this
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's own
        assert ignore_mismatch is False
        if cache.content and not cache.content.startswith(_stamp()):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.cache

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profile = profile
        return 0

    def shape_of(self, tensor: _Tensor) -> tuple[int, ...]:
        if -1 not in tensor.shape:
            return tensor.shape
        if self.profile is None:
            message = f"{tensor.name} is dynamic, and there is no optimization profile"
            raise Refused(message)
        return self.profile.shapes[tensor.name]

    def report(self, phase: str, parent: str, steps: int) -> None:
        monitor = self.progress_monitor
        if monitor is None:
            return
        assert monitor.is_constructed
        monitor.phase_start(phase, parent, steps)
        assert all(monitor.step_complete(phase, step) for step in range(steps))
        monitor.phase_finish(phase)


class Runtime(_Owned):
    def __init__(self, logger: ILogger) -> None:
        _start(logger)
        super().__init__()
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not serialized_engine.startswith(_MAGIC):
            _told(self._logger, "Serialization assertion magicTagRead == kMAGIC_TAG failed")
            return None
        first, _, network = serialized_engine.removeprefix(_MAGIC).partition(b"\n")
        header = json.loads(first)
        if (header["version"], header["gpu"]) != (STATE.version, STATE.gpu):
            _told(self._logger, f"the engine was serialized with TensorRT {header['version']}")
            return None
        return ICudaEngine(header, network, self)


class ICudaEngine(_Owned):
    def __init__(self, header: dict, network: bytes, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(network).graph
        inputs, outputs = _tensors(graph.input), _tensors(graph.output)
        self.tensors = {tensor.name: tensor for tensor in (*inputs, *outputs)}
        self.inputs = {tensor.name for tensor in inputs}
        self.shape = tuple(header["shape"])
        self._dynamic = header["dynamic"]

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name].dtype

    def create_execution_context(self) -> IExecutionContext | None:
        if STATE.fails("context"):
            _told(self.runtime._logger, "[executionContext.cpp] OutOfMemory (Requested size was 4194304 bytes.)")
            return None
        return IExecutionContext(self)


class IExecutionContext(_Owned):
    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__()
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name not in self._engine.inputs or tuple(shape) != self._engine.shape:
            return False
        self._shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert type(memory) is int
        if name not in self._engine.tensors:
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        need_context()
        stream = STREAMS[stream_handle]()
        engine = self._engine
        if self._shape is None or self._addresses.keys() != engine.tensors.keys():
            return False
        if STATE.fails("enqueue"):
            return False
        (name,) = engine.inputs
        (output,) = engine.tensors.keys() - engine.inputs
        source = on_device(self._addresses[name], int(np.prod(self._shape)) * 4)
        target = STATE.device.get(self._addresses[output])
        if target is None:
            message = "the output's address was freed or never allocated"
            raise Refused(message)

        def compute() -> None:
            tensor = source.view(np.float32).reshape(self._shape)
            (features,) = engine.session.run([output], {name: tensor})
            if features.nbytes != target.nbytes:
                message = f"{features.nbytes} bytes of output for {target.nbytes} bytes of memory"
                raise Refused(message)
            noisy = features * np.float32(1.0 + STATE.error) + np.float32(STATE.error)
            target[:] = np.ascontiguousarray(noisy).view(np.uint8).ravel()

        stream.enqueue(compute)
        return True
