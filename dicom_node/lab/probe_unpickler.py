"""A pickle reader that can make numbers, texts, lists, dicts, arrays and inert shells, and cannot call anything else.

Every global that a probe may name is replaced by a class of this file: no code of scikit-learn, joblib or numpy runs on
behalf of the file, so a probe of any scikit-learn version can be read, and an attribute that is not known does no harm.
"""

from __future__ import annotations

import pickle
from typing import IO, Any, ClassVar, Final

import numpy as np

# The kinds of numpy types that hold plain values: bool, integers, floats, text.
_PLAIN_KINDS: Final = "biufUS"
_NAME_MAX: Final = 120
# Far more than a probe has besides its arrays; lists that hold one list many times over grow without end.
_VALUES_MAX: Final = 1_000_000


class Shell:
    """An object that only remembers what the file says about it; BUILD is the only thing that reaches it."""

    def take(self, state: Any) -> None:
        """Keep a state."""
        raise NotImplementedError


class Estimator(Shell):
    """In place of a scikit-learn estimator: the name of its class, and its attributes."""

    kind = ""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def take(self, state: Any) -> None:
        """Keep the attributes."""
        if not isinstance(state, dict):
            message = "an estimator's state is no dict"
            raise pickle.UnpicklingError(message)
        self.state = {str(key): value for key, value in state.items()}


class LogisticRegressionShell(Estimator):
    """In place of LogisticRegression."""

    kind = "LogisticRegression"


class StandardScalerShell(Estimator):
    """In place of StandardScaler."""

    kind = "StandardScaler"


class DtypeShell(Shell):
    """In place of numpy.dtype: a code such as f4, and the byte order that its state brings."""

    def __init__(self, code: Any = "", _align: Any = False, _copy: Any = False) -> None:  # noqa: FBT002 - numpy's own
        self._dtype = np.dtype(str(code))
        if self._dtype.kind not in _PLAIN_KINDS:
            message = f"an array of {code!r} would hold Python objects"
            raise pickle.UnpicklingError(message)

    def take(self, state: Any) -> None:
        """Keep the byte order."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if order in ("<", ">"):
            self._dtype = self._dtype.newbyteorder("<" if order == "<" else ">")

    @property
    def dtype(self) -> Any:
        """The type itself."""
        return self._dtype


class ArrayShell(Shell):
    """In place of an array that lies in the pickle itself; `value` is the array once its state was read."""

    def __init__(self, *_: Any) -> None:
        self.value: Any = None

    def take(self, state: Any) -> None:
        """Make the array of (version, shape, type, column order, bytes)."""
        _, shape, kind, by_column, data = state
        self.value = _array(_dtype(kind), shape, bytes(data), "F" if by_column else "C")


class JoblibArrayShell(Shell):
    """In place of joblib's wrapper: the array's bytes follow it in the file."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def take(self, state: Any) -> None:
        """Keep shape, order and type."""
        self.state = dict(state)

    def read(self, handle: IO[bytes]) -> Any:
        """Return the array whose bytes come next."""
        if self.state.get("numpy_array_alignment_bytes") is not None:
            handle.read(handle.read(1)[0])
        dtype, shape = _dtype(self.state["dtype"]), self.state["shape"]
        data = handle.read(_count(shape) * dtype.itemsize)
        return _array(dtype, shape, data, "F" if self.state.get("order") == "F" else "C")


class Marker:
    """In place of a class that is only ever an argument (ndarray)."""


def _scalar(kind: Any, data: Any) -> Any:
    return _array(_dtype(kind), (1,), bytes(data), "C")[0]


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Any:
    return _array(_dtype(kind), shape, bytes(data), "F" if order == "F" else "C")


def _encode(text: Any, _encoding: Any = "latin1") -> bytes:
    return str(text).encode("latin1")


def _dtype(kind: Any) -> Any:
    if not isinstance(kind, DtypeShell):
        message = "an array has no plain type"
        raise pickle.UnpicklingError(message)
    return kind.dtype


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(isinstance(one, int) and one >= 0 for one in shape):
        message = "an array has no plain shape"
        raise pickle.UnpicklingError(message)
    count = 1
    for one in shape:
        count *= one
    return count


def _array(dtype: Any, shape: Any, data: bytes, order: str) -> Any:
    if len(data) != _count(shape) * dtype.itemsize:
        message = f"an array of shape {shape} is cut short"
        raise pickle.UnpicklingError(message)
    flat = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C").astype(dtype.newbyteorder("="))


_NUMPY: Final = {
    "multiarray._reconstruct": ArrayShell,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
#: The whole of what a probe may name, and what stands in its place.
ALLOWED: Final[dict[str, Any]] = {
    "sklearn.linear_model._logistic.LogisticRegression": LogisticRegressionShell,
    "sklearn.linear_model.logistic.LogisticRegression": LogisticRegressionShell,
    "sklearn.preprocessing._data.StandardScaler": StandardScalerShell,
    "sklearn.preprocessing.data.StandardScaler": StandardScalerShell,
    "joblib.numpy_pickle.NumpyArrayWrapper": JoblibArrayShell,
    "numpy.ndarray": Marker,
    "numpy.dtype": DtypeShell,
    "_codecs.encode": _encode,
    **{f"numpy.{core}.{name}": shell for core in ("core", "_core") for name, shell in _NUMPY.items()},
}


# The C reader cannot be told where an array's bytes lie between two opcodes; joblib builds on the same Python one.
class ProbeUnpickler(pickle._Unpickler):  # noqa: SLF001
    """Reads a probe; refuses, by name, every global that is not in ALLOWED."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001 - pickle's own form

    def __init__(self, handle: IO[bytes]) -> None:
        super().__init__(handle)
        self._handle = handle
        self._unwrapped = 0

    def load_probe(self) -> Any:
        """Return what the file holds, arrays as arrays."""
        return self._unwrap(self.load())

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands in for a global, or refuse it."""
        found = ALLOWED.get(f"{module}.{name}")
        if found is None:
            wanted = f"{module}.{name}"[:_NAME_MAX]  # the file chose it: quoted, on one line, and not endless
            message = f"it names {wanted!r}, which no probe needs; do not load this file with anything else either"
            raise pickle.UnpicklingError(message)
        return found

    def get_extension(self, code: int) -> None:
        """Refuse registered extensions: they stand for globals."""
        message = f"it names the pickle extension {code}, which no probe needs"
        raise pickle.UnpicklingError(message)

    def load_build(self) -> None:
        """Give a state to a shell, and to nothing else; joblib's arrays are read where they lie."""
        state = self._unwrap(self.stack.pop())
        shell = self.stack[-1]
        if not isinstance(shell, Shell):
            message = f"it changes an object of type {type(shell).__name__}"
            raise pickle.UnpicklingError(message)
        shell.take(state)
        if isinstance(shell, JoblibArrayShell):
            self.stack[-1] = shell.read(self._handle)

    dispatch[pickle.BUILD[0]] = load_build

    def _unwrap(self, value: Any) -> Any:
        """Return a value with the arrays in place of their shells; refuse one that is far more than a probe."""
        self._unwrapped += 1
        if self._unwrapped > _VALUES_MAX:
            message = f"it holds more than {_VALUES_MAX} values, far more than a probe"
            raise pickle.UnpicklingError(message)
        if isinstance(value, ArrayShell):
            return value.value
        if isinstance(value, dict):
            return {key: self._unwrap(one) for key, one in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(self._unwrap(one) for one in value)
        return value
