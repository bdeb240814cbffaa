"""config/jetson.toml can be used as it is, and says nothing that the manual says already."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dicom_node import settings
from dicom_node.core.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

JETSON = Path(__file__).resolve().parents[2] / "config" / "jetson.toml"


def test_every_key_of_it_differs_from_the_default() -> None:
    written = tomllib.loads(JETSON.read_text(encoding="utf-8"))
    defaults = settings.Settings()
    same = [
        f"{section}.{key}"
        for section, keys in written.items()
        for key, value in keys.items()
        if getattr(getattr(defaults, section), key) == value
    ]
    assert same == []


def test_it_is_loaded_alone_and_keeps_the_other_defaults() -> None:
    loaded = settings.load(JETSON)
    assert loaded.analysis.runtime == "tensorrt"
    assert loaded.analysis.fallback
    assert loaded.node.port == settings.Settings().node.port
    assert (loaded.analysis.bundle / "SHA256SUMS").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("runtime = 'trt'", "analysis.runtime: Input should be 'auto', 'onnxruntime' or 'tensorrt'"),
        ("providers = ['cuda']", "'CPUExecutionProvider', 'CUDAExecutionProvider' or 'TensorrtExecutionProvider'"),
        ("providers = []", "analysis.providers: Tuple should have at least 1 item"),
        ("release_idle_s = -1", "analysis.release_idle_s: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(f"[analysis]\n{line}\n")
    with pytest.raises(SettingsError) as error:
        settings.load(tmp_path / "c.toml")
    assert said in str(error.value)


def test_the_installed_bundle_is_found() -> None:
    assert (settings.installed_bundle_folder() / "SHA256SUMS").is_file()
