"""The package: nothing starts unconfigured, an upgrade keeps the way back, a bad one leaves the old version in use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import require

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).resolve().parents[2]
#: Stands for the installed program: it accepts a configuration unless that names an option of a later version.
PROGRAM = """#!/bin/sh
[ "$1" = check ] || { echo VERSION; exit 0; }
grep -q unknown_here "$3" && { echo "$3:1: unknown key" >&2; exit 2; }
exit 0
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    require(shutil.which("dpkg-deb") and shutil.which("dpkg"), "dpkg")
    folder = tmp_path_factory.mktemp("packages")
    return {version: build(folder, version) for version in ("1.0", "1.1", "1.2", "1.3")}


def build(folder: Path, version: str) -> Path:
    """Build a package around a stand-in for the virtual environment: its scripts and layout are what is under test."""
    venv = folder / f"venv-{version}"
    (venv / "bin").mkdir(parents=True)
    program = venv / "bin" / "dicom-node"
    program.write_text(PROGRAM.replace("VERSION", version))
    program.chmod(0o755)
    line = ["scripts/deb", "--version", version, "--venv", venv, "--output", folder]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


class Root:
    """A root folder with a dpkg database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "var/lib/dpkg/updates").mkdir(parents=True)
        (folder / "var/lib/dpkg/info").mkdir()
        (folder / "var/lib/dpkg/status").touch()
        self.config = folder / "etc/dicom-node/dicom-node.toml"

    def dpkg(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        line = [
            "dpkg",
            f"--root={self.folder}",
            "--force-script-chrootless",
            "--force-depends",
            "--force-not-root",
            *words,
        ]
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # dpkg looks for ldconfig and start-stop-daemon
        return subprocess.run(line, capture_output=True, text=True, check=False, env=dict(os.environ, PATH=path))

    def version(self) -> str:
        """Return what the command on the PATH says."""
        program = self.folder / "usr/bin/dicom-node"
        target = self.folder / "opt/dicom-node/current/bin/dicom-node"
        assert program.is_symlink()
        return subprocess.run([target], capture_output=True, text=True, check=True).stdout.strip()

    def switch(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = ["sh", self.folder / "usr/sbin/dicom-node-version", *words]
        environment = dict(os.environ, DPKG_ROOT=str(self.folder))
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def test_a_first_installation_starts_nothing_and_says_what_comes_next(root, packages):
    done = root.dpkg("-i", packages["1.0"])
    assert done.returncode == 0, done.stderr
    assert "nothing was started. Next: sudo dicom-node init" in done.stdout
    assert root.version() == "1.0"
    assert not root.config.exists()
    for file in ("dicom-node.socket", "dicom-node.service", "dicom-node-worker@.service", "dicom-node.target"):
        assert (root.folder / "usr/lib/systemd/system" / file).exists()
    assert not list((root.folder / "etc").rglob("*.wants"))


def test_figure_25_an_upgrade_keeps_the_studies_and_the_way_back(root, packages):
    root.dpkg("-i", packages["1.0"])
    root.config.write_text("[node]\n")
    study = root.folder / "var/lib/dicom-node/instances/a.dcm"
    study.parent.mkdir(parents=True)
    study.write_text("received")
    for version in ("1.1", "1.2", "1.3"):
        done = root.dpkg("-i", packages[version])
        assert done.returncode == 0, done.stderr
        assert root.version() == version
    assert [line.split()[-1] for line in root.switch("list").stdout.splitlines()] == ["1.1", "1.2", "1.3"]
    assert root.switch("back").returncode == 0
    assert root.version() == "1.2"
    assert root.switch("use", "1.3").returncode == 0
    assert root.version() == "1.3"
    assert root.switch("use", "9").returncode == 1
    assert study.read_text() == "received"
    assert root.config.read_text() == "[node]\n"


def test_an_older_package_over_a_newer_one_is_a_way_back_too(root, packages):
    root.dpkg("-i", packages["1.1"])
    assert root.dpkg("-i", packages["1.0"]).returncode == 0
    assert root.version() == "1.0"
    assert root.dpkg("-i", packages["1.0"]).returncode == 0, "the same version again"
    assert root.version() == "1.0"


def test_a_version_that_does_not_accept_the_configuration_is_not_used(root, packages):
    root.dpkg("-i", packages["1.0"])
    root.config.write_text("unknown_here = 1\n")
    done = root.dpkg("-i", packages["1.1"])
    assert done.returncode != 0
    assert "does not accept" in done.stderr
    assert root.version() == "1.0"
    root.config.write_text("[node]\n")
    assert root.dpkg("--configure", "dicom-node").returncode == 0
    assert root.version() == "1.1"


def test_whatever_is_removed_what_was_received_stays(root, packages):
    root.dpkg("-i", packages["1.0"])
    root.dpkg("-i", packages["1.1"])
    study = root.folder / "var/lib/dicom-node/instances/a.dcm"
    study.parent.mkdir(parents=True)
    study.write_text("received")
    assert root.dpkg("-r", "dicom-node").returncode == 0
    assert not (root.folder / "opt/dicom-node").exists()
    assert "it holds patient data" in root.dpkg("-P", "dicom-node").stdout
    assert study.read_text() == "received"


def test_a_package_for_another_machine_asks_for_that_machine_and_its_python(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for_jetson = ["--arch", "arm64", "--python", "3.10", "--jetpack"]
    line = ["scripts/deb", "--version", "1.0+jetpack", "--venv", venv, *for_jetson, "--output", tmp_path]
    subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    package = tmp_path / "dicom-node_1.0+jetpack_arm64.deb"
    read = ["dpkg-deb", "-f", package, "Architecture", "Depends"]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert said == (
        "Architecture: arm64\nDepends: python3-libnvinfer, python3 (>= 3.10), python3 (<< 3.11), systemd (>= 247)\n"
    )


def test_an_installation_from_the_checkout_is_the_same(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/dicom-node").write_text(PROGRAM)
    line = ["scripts/install", "--root", tmp_path / "root", "--version", "1.0", "--venv", venv]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "Next: sudo dicom-node init" in done.stdout
    assert (tmp_path / "root/opt/dicom-node/current").readlink() == Path("1.0")
