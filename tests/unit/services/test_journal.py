"""What the journal gets: an event's keys as fields to search by, and nobody waits for it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from dicom_node.services import journal
from dicom_node.services.journal import Journal


@pytest.fixture
def journald(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(5)
        yield sock


def fields_of(datagram: bytes) -> dict[str, str]:
    """Take a datagram apart as journald does."""
    found, rest = {}, datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_a_study_can_be_searched_by_its_uid(journald):
    told = {"event": "instance.stored", "level": "warning", "program": "node", "study": "1.2.3", "sop_instance": "4.5"}
    Journal(journald.getsockname()).msg(**told, bytes=7, reason="two\nlines", timestamp="now", at=["a.py:1 f"])
    found = fields_of(journald.recv(65536))
    assert found == {
        "MESSAGE": 'instance.stored study=1.2.3 sop_instance=4.5 bytes=7 reason=two\nlines at=["a.py:1 f"]',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "dicom-node",
        "EVENT": "instance.stored",
        "DICOM_PROGRAM": "node",
        "DICOM_STUDY_UID": "1.2.3",
        "DICOM_SOP_UID": "4.5",
        "DICOM_BYTES": "7",
        "DICOM_REASON": "two\nlines",
        "DICOM_AT": '["a.py:1 f"]',
    }
    assert all(re.fullmatch("[A-Z][A-Z0-9_]{0,63}", name) for name in found)  # journald drops any other


def test_a_log_that_nobody_reads_is_not_waited_for_and_what_is_missing_is_told(journald, monkeypatch):
    monkeypatch.setattr(journal, "_PATIENCE_MS", 1)
    log = Journal(journald.getsockname())
    for number in range(2000):
        log.msg(event="noise.made", number=number, text="x" * 5000)
    journald.settimeout(0.0)
    taken = 0
    while True:
        try:
            journald.recv(65536)
        except BlockingIOError:
            break
        taken += 1
    assert 0 < taken < 2000
    log.msg(event="last.line")
    lost, last = (fields_of(journald.recv(65536)) for _ in range(2))
    assert (lost["EVENT"], int(lost["DICOM_LINES"]) + taken, last["EVENT"]) == ("log.lost", 2000, "last.line")


def test_a_journal_that_is_started_anew_is_found_again(tmp_path):
    address = str(tmp_path / "socket")
    log = Journal(address)
    log.msg(event="nobody.there")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(address)
            log.msg(event="heard.now")
            heard = [fields_of(sock.recv(65536))["EVENT"]]
        os.unlink(address)  # noqa: PTH108 - a socket's name
        assert heard[0] in {"log.lost", "heard.now"}


def test_only_where_standard_error_is_the_journal():
    program = """
import os, sys
from dicom_node.services import journal, logs
from dicom_node.settings import LogSettings
file = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{file.st_dev}:{file.st_ino + int(sys.argv[2])}"
journal.Journal = lambda *_: type("J", (), {"info": lambda self, **event: print(event["study"])})()
logs.Journal = journal.Journal
logs.configure(LogSettings(format=sys.argv[1]), "test")
import structlog
structlog.get_logger().info("seen", study="1.2.3")
"""

    def run(log_format: str, shift: int) -> tuple[str, bool]:
        line = [sys.executable, "-c", program, log_format, str(shift)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        return done.stdout, "1.2.3" in done.stderr

    assert run("auto", 0) == ("1.2.3\n", False)
    assert run("auto", 1) == ("", True)
    assert run("json", 0) == ("", True)
