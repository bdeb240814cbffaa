"""The published probe file: a joblib dict with its digest beside it; written here, and read without running it."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import joblib
import numpy as np
from safetensors.numpy import save_file

from dicom_node.lab.probe import Fitted, Folded, LinearProbe
from dicom_node.lab.probe_unpickler import Estimator, ProbeUnpickler
from dicom_node.lab.runs import LabError, jsonable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_KEYS: Final = frozenset({"model", "scaler", "temperature"})
_OPTIONAL: Final = frozenset({"holdout_metrics"})
# Not fractured and fractured, in this order: scikit-learn's score is that of the second.
_CLASSES: Final = ([0, 1], [-1, 1])
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_LARGEST: Final = 1 << 30
_WORDS_MAX: Final = 64
_ZLIB_OR_GZIP: Final = (b"\x78", b"\x1f\x8b")


@dataclass(frozen=True, slots=True)
class ProbeFile:
    """What a probe file holds, checked."""

    probe: LinearProbe
    temperature: float
    holdout_metrics: dict[str, Any]
    sha256: str
    written_by: str


def write(path: Path, fitted: Fitted, temperature: float, holdout_metrics: Mapping[str, object]) -> str:
    """Write the joblib dict and its .sha256 sidecar; return the digest."""
    content = {
        "model": fitted.model,
        "scaler": fitted.scaler,
        "temperature": float(temperature),
        "holdout_metrics": jsonable(holdout_metrics),
    }
    joblib.dump(content, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sidecar(path).write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    return digest


def sidecar(path: Path) -> Path:
    """Return where the digest of a probe file is kept."""
    return path.with_name(f"{path.name}.sha256")


def expected_digest(path: Path, given: str | None) -> str:
    """Return the digest that the file must have: the given one, or else the sidecar's; raises LabError without one."""
    if given is None and not sidecar(path).exists():
        message = (
            f"{path}: no digest: give --sha256 HEX from whoever published the file, or put {sidecar(path).name} there"
        )
        raise LabError(message)
    text = sidecar(path).read_text(encoding="utf-8", errors="replace") if given is None else given
    word = text.split()[0] if text.split() else ""
    if not _DIGEST.fullmatch(word):
        message = f"{path}: {word[:80]!r} is no SHA-256 digest (64 hexadecimal digits)"
        raise LabError(message)
    return word.lower()


def read(path: Path, digest: str, features: int) -> ProbeFile:
    """Return the probe in a file after its digest was checked; nothing in it is ever called.

    Raises LabError, one line, where the digest is another, where the file names anything but what a probe is made of,
    or where a shape or a type is not a probe's for this many features.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
        raise LabError(message) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        message = f"{path}: refused unread: its SHA-256 is {found}, expected {digest}; fetch the file again"
        raise LabError(message)
    held = _unpickle(path, content)
    if not isinstance(held, dict) or not held.keys() >= _KEYS or held.keys() - _KEYS - _OPTIONAL:
        message = f"{path}: is no probe: a probe is a dict of {', '.join(sorted(_KEYS))} (and holdout_metrics)"
        raise LabError(message)
    probe = _linear(path, held["model"], held["scaler"], features)
    temperature = _number(path, "temperature", held["temperature"])
    if temperature <= 0.0:
        message = f"{path}: the temperature is {temperature:g}, it must be above 0"
        raise LabError(message)
    metrics = held.get("holdout_metrics") or {}
    version = held["model"].state.get("_sklearn_version", "unknown")
    plain = jsonable(metrics) if isinstance(metrics, dict) else {}
    return ProbeFile(probe, temperature, plain, digest, f"scikit-learn {version}"[:_WORDS_MAX])


def _unpickle(path: Path, content: bytes) -> Any:
    try:
        return ProbeUnpickler(io.BytesIO(_plain(content))).load_probe()
    except LabError as error:
        message = f"{path}: {error}"
    except pickle.UnpicklingError as error:
        message = f"{path}: refused: {error}"
    except Exception as error:  # noqa: BLE001 - hostile bytes make an unpickler raise anything
        message = f"{path}: is not a joblib file ({type(error).__name__})"
    raise LabError(message)


def _plain(content: bytes) -> bytes:
    if not content.startswith(_ZLIB_OR_GZIP):
        return content
    # 32 + 15: zlib's header or gzip's, whichever is there.
    opened = zlib.decompressobj(32 + zlib.MAX_WBITS)
    plain = opened.decompress(content, _LARGEST)
    if opened.unconsumed_tail:
        message = f"refused: it unpacks to more than {_LARGEST >> 20} MiB, far more than a probe"
        raise LabError(message)
    return plain


def _linear(path: Path, model: Any, scaler: Any, features: int) -> LinearProbe:
    for what, found, wanted in (("model", model, "LogisticRegression"), ("scaler", scaler, "StandardScaler")):
        if not isinstance(found, Estimator) or found.kind != wanted:
            message = f"{path}: its {what} is no {wanted}"
            raise LabError(message)
    classes = model.state.get("classes_")
    if not isinstance(classes, np.ndarray) or classes.shape != (2,):
        message = f"{path}: its model does not tell two classes apart"
        raise LabError(message)
    if classes.tolist() not in _CLASSES:
        named = str(classes.tolist())[:_WORDS_MAX]
        message = f"{path}: its classes are {named}, and nobody says which is the fracture: fit it on labels 0 and 1"
        raise LabError(message)
    coef = _vector(path, "coef_", model.state.get("coef_"), (1, features))
    intercept = _vector(path, "intercept_", model.state.get("intercept_"), (1,))
    # A scaler that only scales has a mean all the same, and does not use it; one that only centres keeps no scale.
    mean = scaler.state.get("mean_") if scaler.state.get("with_mean", True) else None
    scale = scaler.state.get("scale_") if scaler.state.get("with_std", True) else None
    probe = LinearProbe(
        coef[0],
        float(intercept[0]),
        np.zeros(features) if mean is None else _vector(path, "mean_", mean, (features,)),
        np.ones(features) if scale is None else _vector(path, "scale_", scale, (features,)),
    )
    if not (probe.scale > 0.0).all():
        message = f"{path}: scale_ holds values that are not above 0"
        raise LabError(message)
    return probe


def _vector(path: Path, name: str, found: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if not isinstance(found, np.ndarray) or found.dtype not in (np.float32, np.float64) or found.shape != shape:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        message = f"{path}: {name} is {what}, needs float32 or float64 of shape {shape}: is this the embedder's probe?"
        raise LabError(message)
    if not np.isfinite(found).all():
        message = f"{path}: {name} holds values that are not numbers"
        raise LabError(message)
    return np.asarray(found, dtype=np.float64)


def _number(path: Path, name: str, found: Any) -> float:
    # A learnt temperature may have been kept as an array of one.
    value = found.item() if isinstance(found, np.ndarray | np.generic) and found.size == 1 else found
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        message = f"{path}: {name} is no number"
        raise LabError(message)
    return float(value)


def write_head(path: Path, folded: Folded, shape: tuple[int, int, int]) -> None:
    """Write head.safetensors, as a bundle holds it: weight [rows, columns, channels] and bias [1], float32."""
    tensors = {
        "weight": np.ascontiguousarray(folded.weight.reshape(shape), dtype=np.float32),
        "bias": np.array([folded.bias], dtype=np.float32),
    }
    save_file(tensors, str(path))
    path.chmod(0o644)  # save_file makes it private; a node runs as another user
