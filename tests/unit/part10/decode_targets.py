"""What a test puts in the decoder's place inside the child process; the file's content says what to do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from dicom_node.core.radiograph import Radiograph


def misbehave(path: Path) -> Radiograph:
    order = path.read_text()
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(60)
    if order == "spin":
        while True:
            pass
    if order == "grow":
        return Radiograph(np.empty((1 << 15, 1 << 16), dtype=np.uint16))  # 4 GiB, never touched: refused at once
    if order == "print":
        sys.stdout.write("noise")
        sys.stdout.flush()
        os.write(1, b"more noise")
    if order == "raise":
        raise KeyError(order)
    if order == "imports":
        foreign = {"onnxruntime", "torch", "tensorrt", "sqlalchemy", "pynetdicom"} & sys.modules.keys()
        return Radiograph(np.full((1, 1), len(foreign), dtype=np.uint16))
    return Radiograph(np.full((3, 5), os.getpid() % 65536, dtype=np.uint16))
