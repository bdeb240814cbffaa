from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import ReasonCode
from dicom_node.part10 import decode as module
from dicom_node.part10.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    WriteImage = Callable[..., Path]

CODES = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FULL = np.rint(CODES / 4095 * 65535).astype(np.uint16)
WINDOW = {"WindowCenter": 2000, "WindowWidth": 1500}


def refusal(path: Path) -> ReasonCode:
    with pytest.raises(NotAnalysable) as caught:
        decode(path)
    assert len(caught.value.reason.text) < 200
    return caught.value.reason.code


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]
)
def test_every_uncompressed_syntax_gives_the_same_greys(write_image: WriteImage, syntax: str) -> None:
    assert np.array_equal(decode(write_image(syntax=syntax)).grey, FULL)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        ("1.2.840.10008.1.2.4.80", lambda: imagecodecs.jpegls_encode(CODES)),
        ("1.2.840.10008.1.2.4.90", lambda: imagecodecs.jpeg2k_encode(CODES, codecformat="j2k", reversible=True)),
        pytest.param(
            "1.2.840.10008.1.2.4.201",
            lambda: imagecodecs.htj2k_encode(CODES, reversible=True),
            marks=pytest.mark.skipif(
                not hasattr(imagecodecs, "htj2k_encode"), reason="imagecodecs for Python 3.10 cannot write HTJ2K"
            ),
        ),
        ("1.2.840.10008.1.2.4.57", lambda: imagecodecs.jpeg8_encode(CODES, lossless=True, bitspersample=12)),
        ("1.2.840.10008.1.2.4.70", lambda: imagecodecs.ljpeg_encode(CODES, bitspersample=12)),
    ],
)
def test_every_lossless_syntax_gives_the_same_greys(write_image: WriteImage, syntax: str, frame: Any) -> None:
    assert np.array_equal(decode(write_image(syntax=syntax, frame=bytes(frame()))).grey, FULL)


def test_run_length_gives_the_same_greys(write_image: WriteImage) -> None:
    assert np.array_equal(decode(write_image(syntax="1.2.840.10008.1.2.5", frame=_run_length())).grey, FULL)


def _run_length() -> bytes:
    """Write both byte planes as literal runs (PS3.5 G)."""
    segments = []
    for plane in (CODES >> 8, CODES & 0xFF):
        data = plane.astype(np.uint8).tobytes()
        segments.append(b"".join(b"\x7f" + data[at : at + 128] for at in range(0, len(data), 128)))
    offsets = [2, 64, 64 + len(segments[0])] + [0] * 13
    return np.array(offsets, dtype="<u4").tobytes() + b"".join(segments)


def test_monochrome1_is_inverted_once(write_image: WriteImage) -> None:
    plain = decode(write_image(**WINDOW)).grey
    for change in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ):
        inverted = decode(write_image(**WINDOW, **change)).grey
        assert np.abs(65535 - inverted.astype(int) - plain).max() <= 1


@pytest.mark.parametrize(
    ("function", "code", "share"),
    [
        ("LINEAR", 2000, (2000 - 1999.5) / 1499 + 0.5),
        ("LINEAR", 1250, 0.0),
        ("LINEAR", 2750, 1.0),
        ("LINEAR_EXACT", 1625, 0.25),
        ("SIGMOID", 2375, 1 / (1 + np.exp(-1))),
    ],
)
def test_windows_follow_the_standard(write_image: WriteImage, function: str, code: int, share: float) -> None:
    grey = decode(write_image(**WINDOW, VOILUTFunction=function)).grey.ravel().astype(int)
    assert grey[code] == pytest.approx(share * 65535, abs=1)


def test_signed_values_are_negative(write_image: WriteImage) -> None:
    codes = (np.arange(4096, dtype=np.int16) - 2048).tobytes()
    path = write_image(pixels=codes, PixelRepresentation=1, WindowCenter=-1000, WindowWidth=500)
    grey = decode(path).grey.ravel().astype(int)
    assert grey[0] == 0
    assert grey[1048] == pytest.approx(32767, abs=100)


def test_old_overlays_in_the_unused_bits_are_cut_off(write_image: WriteImage) -> None:
    assert np.array_equal(decode(write_image(pixels=(CODES | 0xF000).tobytes())).grey, FULL)


def test_padding_does_not_stretch_the_range(write_image: WriteImage) -> None:
    codes = CODES.copy()
    codes[codes < 1000] = 0
    grey = decode(write_image(pixels=codes.tobytes(), PixelPaddingValue=0)).grey.ravel().astype(int)
    assert grey[1000] == 0
    assert grey[0] == 0


def test_window_of_no_width_is_passed_over(write_image: WriteImage) -> None:
    assert np.array_equal(decode(write_image(WindowCenter=0, WindowWidth=0)).grey, FULL)


def test_look_up_tables_are_used(write_image: WriteImage) -> None:
    def table(count: int, first: int, bits: int, data: list[int]) -> Sequence:
        item = Dataset()
        item.add_new(0x00283002, "US", [count, first, bits])
        item.add_new(0x00283006, "US", data)
        return Sequence([item])

    path = write_image(
        ModalityLUTSequence=table(4096, 0, 16, [2 * n for n in range(4096)]),
        VOILUTSequence=table(1024, 4000, 10, list(range(1023, -1, -1))),
    )
    grey = decode(path).grey.ravel().astype(int)
    assert grey[0] == 65535  # below the table: its first entry
    assert grey[4095] == 0  # above: its last
    assert grey[2100] == pytest.approx((1023 - 200) / 1023 * 65535, abs=1)
    short = write_image(VOILUTSequence=table(1024, 0, 10, [1, 2, 3]))
    assert refusal(short) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Rows": 0}, ReasonCode.IMPLAUSIBLE_SIZE),
        ({"Rows": 65535, "Columns": 65535}, ReasonCode.IMPLAUSIBLE_SIZE),
        ({"Rows": 128}, ReasonCode.IMPLAUSIBLE_SIZE),
        ({"NumberOfFrames": 100_000}, ReasonCode.IMPLAUSIBLE_SIZE),
        ({"NumberOfFrames": 2}, ReasonCode.IMAGE_KIND),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, ReasonCode.IMAGE_KIND),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ReasonCode.IMAGE_KIND),
        ({"PhotometricInterpretation": None}, ReasonCode.IMAGE_KIND),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, ReasonCode.IMAGE_KIND),
        ({"BitsStored": 17}, ReasonCode.UNDECODABLE),
        ({"HighBit": 3}, ReasonCode.UNDECODABLE),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, ReasonCode.UNDECODABLE),
        ({"PixelData": None}, ReasonCode.NO_PIXELS),
    ],
)
def test_case_c27_a_data_set_that_cannot_be_right_is_refused(
    write_image: WriteImage, changes: dict[str, Any], code: ReasonCode
) -> None:
    assert refusal(write_image(**changes)) is code


@pytest.mark.parametrize("shape", [(64, 65), (4096, 64), (64, 64, 3)])
def test_case_c28_a_codestream_that_contradicts_the_data_set_is_refused_before_it_is_decoded(
    write_image: WriteImage, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = np.zeros(shape, dtype=np.uint16 if len(shape) == 2 else np.uint8)
    paths = [
        write_image(syntax="1.2.840.10008.1.2.4.80", frame=imagecodecs.jpegls_encode(planes)),
        write_image(syntax="1.2.840.10008.1.2.4.90", frame=imagecodecs.jpeg2k_encode(planes, codecformat="j2k")),
        write_image(syntax="1.2.840.10008.1.2.4.50", frame=imagecodecs.jpeg8_encode(planes.astype(np.uint8))),
    ]
    called: list[object] = []
    for family in tuple(module._CODECS):
        monkeypatch.setitem(module._CODECS, family, called.append)
    assert [refusal(path) for path in paths] == [ReasonCode.UNDECODABLE] * 3
    assert called == []


def test_case_c28_a_codestream_of_another_family_is_refused(write_image: WriteImage) -> None:
    frame = imagecodecs.jpegls_encode(CODES)
    assert refusal(write_image(syntax="1.2.840.10008.1.2.4.50", frame=frame)) is ReasonCode.UNDECODABLE
    assert refusal(write_image(syntax="1.2.840.10008.1.2.4.90", frame=frame)) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("segments", [0, 1, 3, 15, 16, 2**31])
def test_case_c28_a_lying_rle_header_is_refused(write_image: WriteImage, segments: int) -> None:
    frame = np.array([segments], dtype="<u4").tobytes() + _run_length()[4:]
    assert refusal(write_image(syntax="1.2.840.10008.1.2.5", frame=frame)) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("family", ["80", "90", "57", "rle"])
def test_case_c29_a_truncated_codestream_is_refused_at_every_length(write_image: WriteImage, family: str) -> None:
    frame, syntax = {
        "80": (imagecodecs.jpegls_encode(CODES), "1.2.840.10008.1.2.4.80"),
        "90": (imagecodecs.jpeg2k_encode(CODES, codecformat="j2k", reversible=True), "1.2.840.10008.1.2.4.90"),
        "57": (imagecodecs.jpeg8_encode(CODES, lossless=True, bitspersample=12), "1.2.840.10008.1.2.4.57"),
        "rle": (_run_length(), "1.2.840.10008.1.2.5"),
    }[family]
    for length in (1, 3, 10, 30, 63, 65, len(frame) // 2, len(frame) - 4):
        assert refusal(write_image(syntax=syntax, frame=frame[:length])) is ReasonCode.UNDECODABLE


def test_case_c29_a_file_cut_inside_its_pixel_data_is_refused(write_image: WriteImage) -> None:
    path = write_image(syntax="1.2.840.10008.1.2.4.80", frame=imagecodecs.jpegls_encode(CODES))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path) is ReasonCode.NO_PIXELS  # pydicom gives up on an element without its end


def test_case_c31_wrong_vrs_give_a_code_and_no_value(write_image: WriteImage) -> None:
    path = write_image(WindowCenter=1, WindowWidth=2)
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x50\x10DS")
    path.write_bytes(content[: at + 8] + b"x " + content[at + 10 :])
    assert refusal(path) is ReasonCode.UNDECODABLE


def test_no_library_text_reaches_the_message(tmp_path: Path) -> None:
    path = tmp_path / "PATIENT^NAME.dcm"
    path.write_bytes(b"PATIENT^NAME" * 20)
    with pytest.raises(NotAnalysable) as caught:
        decode(path)
    assert "PATIENT" not in caught.value.reason.text
