"""Our greys are those of DCMTK, value for value: on every radiograph there is, and on every way to write one."""

from __future__ import annotations

import io
import shutil
import subprocess

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.radiograph import Radiograph
from dicom_node.part10.decode import decode
from dicom_node.part10.writer import encode
from dicom_node.report import display
from dicom_node.report.presentation_state import presentation_states
from tests.conformance import report_cases as cases
from tests.integration.conftest import require

_RADIOGRAPHS = {"CR", "DX", "MG"}
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
#: Radiographs that this node cannot decode, each with the reason.
UNDECODABLE = {
    "fo-dicom__Tests_FO-DICOM.Tests_Test_Data_CR-MONO1-10-chest": "no file meta information, so no transfer syntax",
    "fo-dicom__Tests_FO-DICOM.Tests_Test_Data_charset_chrJapMulti.dcm": "no pixel data",
    "fo-dicom__Tests_FO-DICOM.Tests_Test_Data_charset_chrJapMultiExplicitIR6.dcm": "no pixel data",
    "fo-dicom__Tests_FO-DICOM.Tests_Test_Data_charset_chrKoreanMulti.dcm": "no pixel data",
}


@pytest.fixture
def full_size(monkeypatch):
    monkeypatch.setattr(display, "LONGEST_SIDE", 100_000)


def ours(path):
    """Return the grey picture before anything is laid over it, at the image's own size."""
    return display.to_display(decode(path)).astype(int)


def by_dcmtk(path, dataset):
    """Return DCMTK's picture by the rule VOI LUT, else window, else the whole range; it has no JPEG 2000 decoder."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    tool = "dcmj2pnm" if syntax in _JPEG else "dcml2pnm" if syntax in _JPEG_LS else "dcm2pnm"
    width = dataset.get("WindowWidth")
    voi = ("+Wm",) if width in (None, "") else ("+Wi", "1")
    voi = ("+Wl", "1") if dataset.get("VOILUTSequence") else voi
    done = subprocess.run([tool, "-O", *voi, str(path)], capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return np.asarray(Image.open(io.BytesIO(done.stdout))).astype(int)


def without_jpeg_2000(path, dataset, folder):
    """Return a file that DCMTK can read: JPEG 2000 is unpacked by Pillow's decoder, which is not the node's."""
    if str(dataset.file_meta.TransferSyntaxUID) not in _JPEG_2000:
        return path, dataset
    whole = pydicom.dcmread(path)
    whole.decompress(decoding_plugin="pillow")
    whole.save_as(folder / "unpacked.dcm")
    return folder / "unpacked.dcm", whole


@pytest.mark.filterwarnings("ignore")
def test_every_radiograph_of_the_collection(dicom_files, full_size, tmp_path):  # noqa: ARG001
    require(shutil.which("dcm2pnm"), "DCMTK's dcm2pnm")
    different, refused, compared = {}, set(), 0
    for path in dicom_files:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            modality = dataset.get("Modality")
        except Exception:  # noqa: BLE001, S112 - files broken on purpose, which raise anything
            continue
        if modality not in _RADIOGRAPHS:
            continue
        try:
            mine = ours(path)
        except NotAnalysable:
            refused.add(path.name)
            continue
        theirs = by_dcmtk(*without_jpeg_2000(path, dataset, tmp_path))
        largest = abs(mine - theirs).max() if mine.shape == theirs.shape else f"{mine.shape}, not {theirs.shape}"
        if mine.shape != theirs.shape or largest > 1:
            different[path.name] = largest
        compared += 1
    assert different == {}
    assert refused == set(UNDECODABLE)
    assert compared >= 14


def test_a_radiograph_without_file_meta_once_it_has_some(dicom_files, full_size, tmp_path):  # noqa: ARG001
    """The node adds file meta information to what it receives; with it the one bare file renders, too."""
    require(shutil.which("dcm2pnm"), "DCMTK's dcm2pnm")
    bare = next((path for path in dicom_files if path.name.endswith("CR-MONO1-10-chest")), None)
    if bare is None:
        pytest.skip("the bare radiograph is not in the collection")
    dataset = pydicom.dcmread(bare, force=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
    dataset.SOPClassUID = dataset.get("SOPClassUID") or UID(cases.CR)
    dataset.SOPInstanceUID = dataset.get("SOPInstanceUID") or UID("2.25.1")
    dataset.remove_private_tags()
    path = tmp_path / "whole.dcm"
    path.write_bytes(encode(dataset))
    assert abs(ours(path) - by_dcmtk(path, dataset)).max() <= 1


def _table(first, entries, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, dtype="<u2").tobytes())
    item.ModalityLUTType = "US"
    return item


def _curve(count, bits):
    return (np.linspace(0, 1, count) ** 1.7 * ((1 << bits) - 1)).astype(int)


def _voi(item):
    del item.ModalityLUTType
    return item


VARIANTS = {
    "window": {"WindowCenter": "1800", "WindowWidth": "1500"},
    "window-of-one": {"WindowCenter": "1800", "WindowWidth": "1"},
    "two-windows": {"WindowCenter": ["1800", "90"], "WindowWidth": ["1500", "50"]},
    "sigmoid": {"WindowCenter": "1800", "WindowWidth": "1500", "VOILUTFunction": "SIGMOID"},
    "no-window": {},
    "rescaled": {"WindowCenter": "500", "WindowWidth": "900", "RescaleSlope": "0.37", "RescaleIntercept": "-200"},
    "falling": {"WindowCenter": "-900", "WindowWidth": "2000", "RescaleSlope": "-0.5", "RescaleIntercept": "0"},
    "modality-lut": {"ModalityLUTSequence": [_table(300, _curve(3000, 12), 12)]},
    "modality-lut-and-window": {
        "ModalityLUTSequence": [_table(0, _curve(4096, 16), 16)],
        "WindowCenter": "30000",
        "WindowWidth": "40000",
    },
    "voi-lut": {"VOILUTSequence": [_voi(_table(200, _curve(3500, 12), 12))]},
    "voi-lut-8": {"VOILUTSequence": [_voi(_table(0, _curve(4096, 8), 8))]},
    "voi-lut-before-window": {
        "VOILUTSequence": [_voi(_table(0, _curve(4096, 14), 14))],
        "WindowCenter": "100",
        "WindowWidth": "50",
    },
    "voi-lut-after-rescale": {
        "VOILUTSequence": [_voi(_table(-500, _curve(2500, 12), 12))],
        "RescaleSlope": "0.5",
        "RescaleIntercept": "-400",
    },
    "signed": {"PixelRepresentation": 1, "WindowCenter": "-100", "WindowWidth": "1900"},
}

#: What DCMTK does wrong with a presentation state, with the reason.
STATE_MISREAD = {"sigmoid": "dcmp2pgm knows no VOI LUT Function and draws a straight line"}


def radiograph(path, photometric, changes):
    """Write a radiograph of 12 bits in which every value occurs once."""
    source = cases.header(rows=64, columns=64, PhotometricInterpretation=photometric)
    source.SamplesPerPixel, source.BitsAllocated, source.BitsStored, source.HighBit = 1, 16, 12, 11
    source.PixelRepresentation = 0
    for keyword, value in changes.items():
        setattr(source, keyword, value)
    source.PixelData = np.arange(4096, dtype="<u2").tobytes()
    source["PixelData"].VR = "OW"
    source.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    path.write_bytes(encode(source))
    return source


def with_state(path, source, folder):
    """Return DCMTK's picture of an image under our own presentation state of it."""
    size = int(source.Rows), int(source.Columns)
    found = cases.finding(str(source.SOPInstanceUID), cases.P, regions=(cases.box(*size),))
    (state,) = presentation_states(cases.request(cases.SourceView(source, found, None, None)))
    (folder / "state.dcm").write_bytes(encode(state.dataset))
    arguments = ("-p", folder / "state.dcm", path, folder / "state.pgm")
    done = subprocess.run(["dcmp2pgm", *map(str, arguments)], capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    picture = cv2.imread(str(folder / "state.pgm"), cv2.IMREAD_UNCHANGED)
    return picture.astype(int)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_way_to_write_a_grey_scale(full_size, tmp_path, name, photometric):  # noqa: ARG001
    """The picture and our presentation state of the image, both against DCMTK."""
    require(shutil.which("dcm2pnm"), "DCMTK's dcm2pnm")
    path = tmp_path / "image.dcm"
    source = radiograph(path, photometric, VARIANTS[name])
    mine = ours(path)
    assert abs(mine - by_dcmtk(path, source)).max() <= 1
    if name not in STATE_MISREAD:
        assert abs(mine - with_state(path, source, tmp_path)).max() <= 1


def test_a_presentation_state_keeps_the_greys_of_a_real_radiograph(dicom_files, full_size, tmp_path):  # noqa: ARG001
    require(shutil.which("dcmp2pgm"), "DCMTK's dcmp2pgm")
    wanted = ("REF_RG3_UNC", "highdicom__data_test_files_dx_image.dcm", "77654033_CR1_6154")
    paths = [path for path in dicom_files if path.name.endswith(wanted)]
    if not paths:
        pytest.skip("none of the radiographs is in the collection")
    for path in paths:
        source = pydicom.dcmread(path, stop_before_pixels=True)
        assert abs(ours(path) - with_state(path, source, tmp_path)).max() <= 1, path.name


def test_the_picture_shown_is_the_decoded_one_at_its_own_size():
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert (display.to_display(Radiograph(grey)) == np.rint(grey / 257.0)).all()
