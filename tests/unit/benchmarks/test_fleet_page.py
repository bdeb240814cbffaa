"""docs/capacity.md says what the model assumes, and images go out under the UIDs that they are given."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from dicom_node.part10.decode import decode
from tests.benchmarks import fleet_page
from tests.benchmarks.fleet_arrivals import Image, Kind
from tests.benchmarks.fleet_images import Templates, fresh_uid


def test_the_page_states_the_model_s_assumptions_and_their_sources() -> None:
    page = fleet_page.PAGE.read_text(encoding="utf-8")
    assert fleet_page.model_block() in page
    assert all(f"<!-- fleet:{name} -->" in page for name in ("model", "hospital", "region", "hospital-outage", "paper"))


def test_every_reference_is_cited_and_every_citation_is_a_reference() -> None:
    table, _, references = fleet_page.model_block().partition("\n\n")
    cited = {number for number in range(1, 100) if f"[{number}]" in table}
    assert cited == set(range(1, len(references.splitlines()) + 1))


@pytest.mark.parametrize(
    "kind",
    [Kind("EXTREMITY", "DX", 64, 48, compressed=False), Kind("CHEST", "CR", 64, 48, compressed=True)],
    ids=lambda kind: kind.region,
)
def test_an_image_goes_out_under_the_uids_that_it_is_given(kind: Kind, tmp_path: Path) -> None:
    template = Templates([kind], seed=1).of(Image(7, 0, kind))
    uids = [fresh_uid() for _ in range(3)]
    read = pydicom.dcmread(BytesIO(template.filled(*uids, "A0000000007")), force=True)
    assert [read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID] == uids
    assert (read.AccessionNumber, read.PatientID, read.Modality) == ("A0000000007", "A0000000007", kind.modality)
    assert str(read.SOPClassUID) == template.sop_class_uid
    read.file_meta = FileMetaDataset()
    read.file_meta.TransferSyntaxUID = UID(template.transfer_syntax_uid)
    read.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    grey = decode(tmp_path / "image.dcm").grey
    assert grey.shape == (64, 48)
    assert grey.max() > grey.min()


def test_a_value_of_another_length_is_refused() -> None:
    kind = Kind("CHEST", "CR", 64, 48, compressed=False)
    template = Templates([kind], seed=1).of(Image(0, 0, kind))
    with pytest.raises(ValueError, match="length"):
        template.filled("1.2.3", fresh_uid(), fresh_uid(), "A0000000000")
