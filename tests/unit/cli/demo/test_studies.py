from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.cli.demo.studies import collect
from dicom_node.part10 import writer

CR, MR = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.4"


def put(path: Path, study: str, instance: str, modality: str = "CR", description: str = "Wrist") -> Path:
    dataset = Dataset()
    dataset.SOPClassUID = CR if modality == "CR" else MR
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = instance, study
    dataset.Modality, dataset.AccessionNumber, dataset.StudyDescription = modality, "A1", description
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(writer.encode(dataset))
    return path


def test_files_are_grouped_by_study_at_any_depth(tmp_path: Path) -> None:
    paths = [put(tmp_path / "a" / "1", "1.2", "1.2.1"), put(tmp_path / "b" / "c" / "2", "1.2", "1.2.2")]
    studies, skipped = collect(paths)
    assert [(study.study_uid, len(study.objects), study.radiographs) for study in studies] == [("1.2", 2, 2)]
    assert skipped == ()
    assert studies[0].title == "Wrist (accession A1)"


def test_what_is_no_dicom_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    studies, skipped = collect([tmp_path / "notes.txt", put(tmp_path / "1", "1.2", "1.2.1")])
    assert len(studies) == 1
    assert [line.startswith(str(tmp_path / "notes.txt")) for line in skipped] == [True]


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 128 + b"DICM", b"\x00" * 128 + b"DICM\xff\xff\xff\xff", b"\x02\x00"]
)
def test_broken_files_are_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.dcm").write_bytes(content)
    studies, skipped = collect([tmp_path / "broken.dcm"])
    assert (studies, len(skipped)) == ((), 1)


def test_the_same_instance_is_sent_once(tmp_path: Path) -> None:
    studies, skipped = collect([put(tmp_path / "1", "1.2", "1.2.1"), put(tmp_path / "2", "1.2", "1.2.1")])
    assert len(studies[0].objects) == 1
    assert "the same instance again" in skipped[0]


def test_a_study_without_a_radiograph_is_left_out_with_its_reason(tmp_path: Path) -> None:
    paths = [put(tmp_path / "1", "1.2", "1.2.1", "MR", "Knee"), put(tmp_path / "2", "1.3", "1.3.1")]
    studies, skipped = collect(paths)
    assert [study.study_uid for study in studies] == ["1.3"]
    assert skipped == ("Knee (accession A1): has no CR or DX image",)


def test_other_objects_of_a_study_go_with_its_radiographs(tmp_path: Path) -> None:
    paths = [put(tmp_path / "1", "1.2", "1.2.1"), put(tmp_path / "2", "1.2", "1.2.2", "MR")]
    (study,), _ = collect(paths)
    assert (len(study.objects), study.radiographs) == (2, 1)
    assert study.without({"1.2.1"}).radiographs == 0
