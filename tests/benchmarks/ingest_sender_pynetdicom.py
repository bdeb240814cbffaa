"""Sends files over one association with pynetdicom as its manual says: `python -m … PORT AE OUT FILES`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE


def main(port: int, called: str, out: Path, files: list[Path]) -> int:
    """Send the files, write the seconds of each to `out`; 0 where all were answered 0x0000."""
    datasets = [dcmread(file) for file in files]
    entity = AE(ae_title="BENCH")
    for kind in {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}:
        entity.add_requested_context(*kind)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return 1
    seconds, bad = [], 0
    for ds in datasets:
        started = time.perf_counter()
        answer = association.send_c_store(ds)
        seconds.append(time.perf_counter() - started)
        bad += answer.get("Status") != 0
    association.release()
    out.write_text(json.dumps(seconds))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]]))
