"""A run's folder: what was asked, what was logged, measured and drawn, and which stages are finished."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicom_node.core.errors import Permanent
from dicom_node.lab import report_html
from dicom_node.lab.report_html import Section

__all__ = ["LabError", "RunFolder", "Section", "jsonable", "read_json", "write_json"]

_CONFIG: Final = "config.json"
_LOG: Final = "log.txt"
_METRICS: Final = "metrics.json"
_REPORT: Final = "report.html"
_STAGES: Final = "stages.json"
_PICTURES: Final = "pictures"


class LabError(Permanent):
    """Something in the lab cannot go on as asked; the message says in one line what to do."""


class RunFolder:
    """One run's files: config.json, log.txt, metrics.json, pictures/, report.html and the finished stages."""

    def __init__(self, path: Path, config: Mapping[str, object]) -> None:
        self.path = path
        self.config: dict[str, Any] = jsonable(config)

    @classmethod
    def open(cls, path: Path, config: Mapping[str, object]) -> RunFolder:
        """Return the run in this folder: a new one, or the same one to be resumed.

        Raises LabError where the folder holds a run with another configuration, or files that are no run.
        """
        run = cls(path, config)
        stamp = path / _CONFIG
        if stamp.exists():
            run._resume(read_json(stamp))
            return run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            message = f"{path} exists and is not a run folder; give a new folder"
            raise LabError(message)
        (path / _PICTURES).mkdir(parents=True, exist_ok=True)
        write_json(stamp, run.config)
        run.log(f"new run in {path.name}")
        return run

    def _resume(self, found: dict[str, Any]) -> None:
        if found != self.config:
            keys = [key for key in {**found, **self.config} if found.get(key) != self.config.get(key)]
            message = (
                f"{self.path} holds a run with another {', '.join(keys)}; "
                "give another folder, or delete this one to start anew"
            )
            raise LabError(message)
        (self.path / _PICTURES).mkdir(exist_ok=True)
        self.log("resumed")

    def log(self, text: str) -> None:
        """Append one line with the time (UTC) to log.txt."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / _LOG).open("a", encoding="utf-8") as handle:
            handle.write(f"{now} {text}\n")

    def save_metrics(self, metrics: Mapping[str, object]) -> None:
        """Write metrics.json; what is not a finite number becomes null."""
        write_json(self.path / _METRICS, jsonable(metrics))

    def metrics(self) -> dict[str, Any]:
        """Return what metrics.json holds; raises LabError where it is missing."""
        return read_json(self.path / _METRICS)

    def picture(self, name: str) -> Path:
        """Return where the picture of this name goes."""
        return self.path / _PICTURES / f"{name}.png"

    def write_report(self, title: str, sections: Sequence[Section]) -> Path:
        """Write report.html, one file with its pictures inside that opens without a network, and return its path."""
        path = self.path / _REPORT
        path.write_text(report_html.page(title, sections), encoding="utf-8")
        return path

    def done(self, stage: str) -> bool:
        """Tell whether a stage was finished by this run or by the one that it resumes."""
        return stage in self._stages()

    def mark(self, stage: str) -> None:
        """Remember that a stage is finished."""
        write_json(self.path / _STAGES, sorted({*self._stages(), stage}))

    def _stages(self) -> list[str]:
        path = self.path / _STAGES
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def jsonable(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities as None, arrays as lists, paths by their text."""
    if isinstance(value, np.generic | np.ndarray):
        return jsonable(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(one) for one in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; raises LabError where the file is missing or is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({type(error).__name__}); is this the folder of a finished run?"
        raise LabError(message) from None
    if not isinstance(found, dict):
        message = f"{path}: does not hold a JSON object"
        raise LabError(message)
    return found


def write_json(path: Path, value: object) -> None:
    """Write JSON aside and move it into place, so that an interruption leaves the old file or the new one."""
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)
