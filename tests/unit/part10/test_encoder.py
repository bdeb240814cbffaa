"""Our encoder writes what pydicom writes, to the byte, whatever is in a result."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.part10 import writer
from dicom_node.part10.encoder import Encoder
from dicom_node.report.package import compose
from tests.conformance import report_cases as cases
from tests.support.fracatlas import PATIENTS

_ODD = {name: cases.request(*cases.views(cases.P, cases.N, **changes)) for name, changes in cases.odd_sources().items()}
_NAMED = {
    f"name-{number}": cases.request(
        *cases.views(cases.P, SpecificCharacterSet=character_set.split("\\") or None, PatientName=name)
    )
    for number, (character_set, name) in enumerate(PATIENTS)
}
_REQUESTS = _ODD | _NAMED | {name: cases.outcomes()[name] for name in ("four-views", "version-2", "no-model")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's of the odd values, which are the point
@pytest.mark.parametrize("name", _REQUESTS)
def test_a_result_is_encoded_as_pydicom_encodes_it(name):
    encoder = Encoder()
    for made in compose(_REQUESTS[name]):
        syntax = str(made.dataset.file_meta.TransferSyntaxUID)
        assert writer.encode(made.dataset, encoder) == writer._by_pydicom(made.dataset, syntax), made.kind


def test_values_that_are_rare_in_a_result_are_encoded_as_pydicom_encodes_them():
    dataset, item = Dataset(), Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(cases.DX), UID("1.2.3")
    dataset.add_new(0x60003000, "OW", b"\1\2\3")
    item.is_undefined_length_sequence_item = True
    item.WindowCenter, item.FrameIncrementPointer = [1.5, "2048"], 0x00181063
    item.ReferencedFrameNumber, item.PatientAge = [1, 2], ""
    item.RedPaletteColorLookupTableData, item["RedPaletteColorLookupTableData"].VR = b"\1\2", "OW"
    item.add_new(0x00280000, "UL", 8)  # a group length: not written
    dataset.SequenceOfUltrasoundRegions = [item, Dataset()]
    explicit = writer._by_pydicom(dataset, writer.EXPLICIT_LITTLE)
    assert writer.encode(dataset) == explicit
    dataset.PixelRepresentation, dataset.SmallestImagePixelValue = 1, -1  # US or SS: which, the other value says
    assert writer.encode(dataset) == writer._by_pydicom(dataset, writer.EXPLICIT_LITTLE) != explicit
    implicit = writer._by_pydicom(dataset, "1.2.840.10008.1.2")
    assert writer.encode(dataset) == implicit, "the data set's file meta names it"
