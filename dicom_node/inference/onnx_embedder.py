"""The embedder on ONNX Runtime: the only file that imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from dicom_node.core.errors import BundleError, WorkerCrashed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle

_CPU = ("CPUExecutionProvider",)


class OnnxEmbedder:
    """A bundle's network on ONNX Runtime.

    threads: how many cores one image may use. providers: execution providers in order of preference, all of which must
    be installed. Raises BundleError where the network cannot be loaded or is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, providers: Sequence[str] = _CPU) -> None:
        missing = sorted(set(providers) - set(onnxruntime.get_available_providers()))
        if missing:
            message = f"ONNX Runtime has no {', '.join(missing)}; install its build for this device or choose another"
            raise BundleError(message)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A thread that spins while it waits takes the core from the decoder, the ledger, and the thread it waits for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: warnings about graph rewriting tell an operator nothing
        try:
            session = onnxruntime.InferenceSession(str(bundle.embedder_path), options, providers=list(providers))
        except Exception as error:  # noqa: BLE001 - the runtime's exceptions share no base class
            message = f"{bundle.embedder_path}: ONNX Runtime cannot load it ({type(error).__name__}); export it again"
            raise BundleError(message) from None
        table = bundle.manifest.embedder
        _check(bundle, session.get_inputs(), table.input_name, table.input_shape)
        _check(bundle, session.get_outputs(), table.output_name, table.output_shape)
        self._session: Any = session
        self._input, self._output = table.input_name, table.output_name
        self._input_shape, self._output_shape = tuple(table.input_shape), tuple(table.output_shape)
        self._provider = str(session.get_providers()[0])

    @property
    def runtime(self) -> str:
        """Name and version of what computes, as results state it."""
        return f"ONNX Runtime {onnxruntime.__version__} {self._provider}"

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features, float32 [rows, columns, channels], of an input float32 [1, 1, rows, columns].

        Raises BundleError where the shapes are not the manifest's, WorkerCrashed where the runtime fails.
        """
        if tensor.shape != self._input_shape:
            message = (
                f"the preprocessing makes {tensor.shape}, the network takes {self._input_shape}; the two do not fit"
            )
            raise BundleError(message)
        try:
            (features,) = self._session.run([self._output], {self._input: tensor})
        except Exception as error:  # noqa: BLE001 - the runtime's exceptions share no base class
            message = f"ONNX Runtime failed on an image ({type(error).__name__})"
            raise WorkerCrashed(message) from None
        if features.shape != self._output_shape:
            message = f"the network returned {features.shape}, the manifest says {self._output_shape}; export it again"
            raise BundleError(message)
        return np.asarray(features[0], dtype=np.float32)

    def close(self) -> None:
        """Release the network."""
        self._session = None


def _check(bundle: Bundle, nodes: Sequence[Any], name: str, shape: Sequence[int]) -> None:
    """Compare the graph's only input or output with the manifest; a named (dynamic) axis fits any size."""
    fits = len(nodes) == 1 and nodes[0].name == name and nodes[0].type == "tensor(float)"
    fits = fits and len(nodes[0].shape) == len(shape)
    fits = fits and all(not isinstance(a, int) or a == b for a, b in zip(nodes[0].shape, shape, strict=True))
    if not fits:
        found = ", ".join(f"{node.name} {node.shape} {node.type}" for node in nodes)
        message = (
            f"{bundle.embedder_path}: has {found}, the manifest says {name} {list(shape)}; export the two together"
        )
        raise BundleError(message)
