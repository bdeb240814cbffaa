"""The worker's jobs, where they meet what a data set may do to them."""

from __future__ import annotations

from structlog.testing import capture_logs

from dicom_node.services.workbench import _header


def test_a_header_that_cannot_be_read_is_said_and_its_uids_stand_in(tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM file")
    with capture_logs() as events:
        header = _header(broken, "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4", "1.2.3")
    assert (header.SOPClassUID, header.SOPInstanceUID, header.StudyInstanceUID) == (
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.3.4",
        "1.2.3",
    )
    assert [(event["event"], event["sop_instance"]) for event in events] == [("header.unreadable", "1.2.3.4")]
