"""The log never tells what was in a data set, not even through an exception's text."""

from __future__ import annotations

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
