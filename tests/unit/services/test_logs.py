"""The log never tells what was in a data set, not even through an exception's text."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
import threading, warnings, logging, structlog
from dicom_node.services import logs
from dicom_node.settings import LogSettings
logs.configure(LogSettings(format={format!r}), "test")
def fail():
    raise ValueError("Canary^Patient")
thread = threading.Thread(target=fail); thread.start(); thread.join()
warnings.warn("Canary^Patient")
logging.getLogger("pydicom").error("Canary^Patient")
try:
    fail()
except ValueError:
    structlog.get_logger().exception("caught")
structlog.get_logger().info("seen", study="1.2.3", reason=None)
fail()
"""


def run(log_format):
    program = PROGRAM.format(format=log_format)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_c51_no_exception_text_reaches_the_log_in_either_format():
    for log_format in ("json", "console"):
        result = run(log_format)
        assert "Canary" not in result.stderr + result.stdout
        assert result.stderr.count("ValueError") == 3, result.stderr
        assert "1.2.3" in result.stderr
        assert result.returncode == 1


def test_events_say_where_it_failed_and_leave_out_what_is_empty():
    stderr = run("json").stderr
    assert '"at": ["threading.py' in stderr
    assert '"reason"' not in stderr
    assert '"program": "test"' in stderr


ENDLESS = """
import sys, structlog
from dicom_node.services import logs
from dicom_node.settings import LogSettings
logs.configure(LogSettings(format="json"), "test")
log = structlog.get_logger()
for number in range(3000):
    log.info("noise.made", number=number, text="x" * 5000)
print("done", flush=True)
sys.stdin.readline()
log.info("last.line")
"""


def test_c50_a_log_that_nobody_reads_holds_nothing_up_and_tells_what_is_missing():
    command = [sys.executable, "-c", ENDLESS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "done\n"  # although the pipe holds only a few of the lines
        drained = os.read(process.stderr.fileno(), 1 << 20).decode()  # all that it holds: there is room again
        _, log = process.communicate("\n", timeout=120)
    log = drained + log
    whole = [line for line in log.splitlines() if line.endswith("}")]  # the one that was begun is left as it is
    events = [json.loads(line) for line in whole]
    assert [event["event"] for event in events[-2:]] == ["log.lost", "last.line"]
    assert events[-2]["lines"] + len(events) - 2 == 3000
