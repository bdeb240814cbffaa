"""Every file of the shared DICOM folder, one by one: the status it gets, and the reason that is recorded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_node.core.identifiers import spool_key
from dicom_node.ledger.spool import StateFolders
from dicom_node.part10.writer import wrap
from tests.support.node import Node
from tests.support.sender import Answer, RawSender, read_part10, send_with_dcmtk
from tests.support.system import UNFINISHED
from tests.support.waiting import until

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STORED, MISMATCH, NOT_UNDERSTOOD = "0x0000", "0xA900", "0xC000"
NO_CONTEXT = "context rejected"

# What is not simply stored, by the end of its name, and why. Everything else must be answered 0x0000.
EXPECTED = (
    # No SOP Class or Instance UID in the data set, so it cannot be what the command announces (PS3.4 B.2.3: A9xx).
    # These are fragments made to test parsers.
    (r"(empty_charset_LEI|meta_missing_tsyntax|no_meta_group_length|_priv_SQ|UN_sequence)\.dcm", MISMATCH),
    (r"charset_chrSQEncoding1?\.dcm", MISMATCH),
    (r"JLSL_RGB_ILV2\.dcm", MISMATCH),
    # Not of the Storage Service Class (PS3.4 B.5), so no context is accepted for them: Media Storage Directory is for
    # media, Color Palette (PS3.4 GG) belongs to no patient and no study.
    (r"DICOMDIR(-[A-Za-z]+)?(\.dcm)?", NO_CONTEXT),
    (r"data_palettes_\w+\.dcm", NO_CONTEXT),
    # Deflated: a megabyte of it may be a gigabyte, so the transfer syntax is not accepted.
    (r"(data_deflated|FailToOpenDeflatedFileWithSQ)\.dcm", NO_CONTEXT),
    # The structure is broken: an element or item ends beyond what holds it, or is none. Cut off, or damaged on purpose.
    (r"(MR_truncated|rtplan_truncated|no_meta)\.dcm", NOT_UNDERSTOOD),
    (r"(GH179B|GH364|GH626)\.dcm", NOT_UNDERSTOOD),
    (r"test_files_SC_rgb_jpeg\.dcm", NOT_UNDERSTOOD),  # implicit VR under a transfer syntax that is explicit
    # A SOP Instance UID with letters in it: nothing that may become a key or be referenced from a report.
    (r"bad_sequence\.dcm", NOT_UNDERSTOOD),
    # No Study Instance UID: it belongs to no study, so nothing can be listed or reported for it.
    (r"(Benchmark_Data_multiframe|GH223|GH487|HTJ2KLossless_08_RGB|JLSL_08_07_0_1F)\.dcm", NOT_UNDERSTOOD),
    (r"(JPEGLSNearLossless_(08|16)|SC_rgb_jls_lossy_(line|sample))\.dcm", NOT_UNDERSTOOD),
)


def expected_answer(file: Path) -> str:
    return next((answer for pattern, answer in EXPECTED if re.search(rf"{pattern}$", file.name)), STORED)


@dataclass
class Round:
    node: Node
    answers: dict[Path, Answer]
    pid_before: int
    pid_after: int
    rows: dict[str, dict]


@pytest.fixture(scope="module")
def everything_sent(tmp_path_factory, bundle, dicom_files):
    """A node that was sent every file, each on an association of its own. It has no destination, only its ledger."""
    with Node(tmp_path_factory.mktemp("statuses"), bundle, quiet_s=0.5) as node:
        sender = RawSender(node.port)
        before = node.process("node").pid
        answers = {file: sender.send(file) for file in dicom_files}
        process = node.process("node")
        rows = {row["sop_instance_uid"]: row for row in node.instances()}
        yield Round(node, answers, before, process.pid if process else -1, rows)


def test_each_file_is_answered_with_a_fitting_status(everything_sent):
    wrong = {
        file.name: f"{answer} ({answer.comment}) instead of {expected_answer(file)}"
        for file, answer in everything_sent.answers.items()
        if str(answer) != expected_answer(file)
    }
    assert wrong == {}


def test_the_same_process_answered_all_of_them(everything_sent):
    assert everything_sent.pid_before == everything_sent.pid_after
    assert everything_sent.node.events("child.ended") == []


def test_each_stored_one_is_listed_with_its_role_and_reason(everything_sent):
    for file, answer in everything_sent.answers.items():
        if not answer.stored:
            continue
        row = everything_sent.rows[read_part10(file).sop_instance_uid]
        if row["role"] == "view":
            assert row["modality"] in {"CR", "DX"}, file.name
        else:
            assert row["reason_code"], file.name
            assert row["reason_text"], file.name


def test_each_stored_one_is_kept_byte_for_byte(everything_sent):
    folders = StateFolders(everything_sent.node.state_dir)
    compared = 0
    for file, answer in everything_sent.answers.items():
        if answer.stored:
            part = read_part10(file)
            key = spool_key(part.sop_instance_uid, hashlib.sha256(part.dataset).hexdigest())
            uids = (part.sop_class_uid, part.sop_instance_uid, part.transfer_syntax_uid)
            kept = folders.instance_path(key).read_bytes()
            assert kept[len(kept) - len(part.dataset) :] == part.dataset, file.name
            if everything_sent.rows[part.sop_instance_uid]["transfer_syntax_uid"] == part.transfer_syntax_uid:
                assert kept == wrap(part.dataset, *uids), file.name
            compared += 1
    assert compared > 300


def test_each_refused_one_is_logged_with_its_reason(everything_sent):
    refused = [file for file, answer in everything_sent.answers.items() if answer.status]
    without_context = [file for file, answer in everything_sent.answers.items() if answer.outcome == NO_CONTEXT]
    node = everything_sent.node
    assert len(node.events("instance.refused")) == len(refused)
    assert all(event["reason"] for event in node.events("instance.refused"))
    assert all(everything_sent.answers[file].comment for file in refused)
    assert len(node.events("context.rejected")) == len(without_context)


def test_the_node_stays_small_and_free_of_model_runtimes(everything_sent):
    process = everything_sent.node.process("node")
    assert process.memory_info().rss < 150e6
    assert _loaded(process.pid, "onnxruntime", "torch", "sklearn", "scikit", "imagecodecs", "highdicom") == []


def test_the_worker_has_no_training_libraries(everything_sent):
    process = everything_sent.node.process("worker")
    assert _loaded(process.pid, "torch", "sklearn", "scikit") == []


def test_the_worker_outlives_damaged_pixel_data(everything_sent):
    """Nothing that was sent costs more than the decoder it was given to."""
    node = everything_sent.node
    until(lambda: all(s["state"] != "open" for s in node.studies().values()), 60, "all studies are closed")
    until(lambda: not any(s["result"] in UNFINISHED for s in node.studies().values()), 120, "all studies are answered")
    assert len(node.events("worker.joined")) == 1


@pytest.mark.usefixtures("dcmtk_installed")
@pytest.mark.parametrize("ending", ["693_J2KI.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "CT_small.dcm"])
def test_dcmtk_hears_success(everything_sent, dicom_files, ending):
    file = next(path for path in dicom_files if path.name.endswith(ending))
    status, said = send_with_dcmtk(everything_sent.node.port, file)
    assert status == 0, said


def _loaded(pid: int, *libraries: str) -> list[str]:
    """Return the shared libraries of these packages that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    files = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return sorted(file for file in files if any(f"/{library}" in file for library in libraries))
