"""Coverage-guided fuzzing of what reads received bytes first, with atheris: `scripts/bench fuzz --coverage-guided`.

Runs as a process of its own, since libFuzzer ends it. Inputs that reach new lines are kept and gone on from next time.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NAMES = ("data set", "association request", "command")  # an association takes sockets and threads: it is only drawn
_LONGEST = 8192
_SLOW_S = 5
_MEMORY_MB = 2048


def run(minutes: float, folder: Path, console: Console) -> int:
    """Fuzz each target for so long; 1 where something was found, 2 where atheris is not installed."""
    if importlib.util.find_spec("atheris") is None:
        console.print("atheris is not installed: .venv/bin/python -m pip install atheris (it is in no extra)")
        return 2
    found = 0
    for name in NAMES:
        words = ["--target", name, "--seconds", str(round(minutes * 60)), "--folder", str(folder)]
        code = subprocess.run([sys.executable, "-m", __name__, *words], check=False).returncode
        finds = [path for path in folder.glob(f"{_slug(name)}-*") if path.is_file()]
        console.print(f"{name}: {len(finds)} finds{'' if code == 0 else f', ended with {code}'}", *map(str, finds))
        found += len(finds) or bool(code)
    return 1 if found else 0


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def main() -> None:
    """Fuzz one target; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=NAMES, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    import atheris  # noqa: PLC0415 - installed by whoever wants it

    warnings.simplefilter("ignore")  # of the broken files among the seeds
    with atheris.instrument_imports(include=["dicom_node.dimse", "dicom_node.part10"]):
        from tests.benchmarks import fuzz  # noqa: PLC0415 - what it imports is instrumented

    (target,) = (one for one in fuzz.targets() if one.name == arguments.target)
    corpus = arguments.folder / "corpus" / _slug(target.name)
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_SLOW_S}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-artifact_prefix={arguments.folder}/{_slug(target.name)}-",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *words], lambda data: _read(target, data))
    atheris.Fuzz()


def _read(target: Any, data: bytes) -> None:
    with suppress(*target.refusals):
        target.read(data, Random(0))  # noqa: S311 - the same each time


if __name__ == "__main__":
    main()
