"""What L4T and the kernel say about a machine, from files as they write them."""

from __future__ import annotations

import pytest

from dicom_node.inference import machine
from tests.support.waiting import until


@pytest.fixture
def jetson(tmp_path):
    """Return a root with the files of an Orin Nano, in the formats that NVIDIA's documentation and forum show."""
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/meminfo": "MemTotal:        7801000 kB\nMemAvailable:    4096000 kB\nSwapTotal:       3900000 kB\n",
        "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
        "sys/class/hwmon/hwmon1/in1_input": "5000\n",
        "sys/class/hwmon/hwmon1/curr1_input": "1400\n",
        "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
        "var/lib/nvpmodel/status": "pmode:0002 fmode:fanNULL",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_jetson_is_described(jetson):
    assert machine.l4t(jetson) == "36.4.3"
    assert machine.driver(jetson) == "540.4.0"
    assert machine.board(jetson) == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.memory(jetson) == (7801000 * 1024, 4096000 * 1024)
    assert machine.swap(jetson) == 3900000 * 1024
    assert machine.watts(jetson) == pytest.approx(7.0)
    assert machine.power_mode(jetson) == "2"
    assert machine.platform_name("12.6", jetson) == "L4T 36.4.3, driver 540.4.0, CUDA driver 12.6"


def test_a_desktop_s_driver_is_read(tmp_path):
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(line)
    assert machine.platform_name("12.2", tmp_path) == "driver 535.104.05, CUDA driver 12.2"


def test_a_machine_that_says_nothing_is_no_error(tmp_path):
    asked = (machine.l4t, machine.driver, machine.board, machine.watts, machine.power_mode)
    assert [question(tmp_path) for question in asked] == [None] * 5
    assert machine.memory(tmp_path) == (0, 0)
    assert machine.swap(tmp_path) == 0
    assert machine.platform_name("12.6", tmp_path) == "CUDA driver 12.6"


def test_the_deepest_fall_of_free_memory_is_kept(jetson):
    meminfo = jetson / "proc/meminfo"

    def say(kibibytes):
        (jetson / "next").write_text(f"MemTotal: 7801000 kB\nMemAvailable: {kibibytes} kB\n")
        (jetson / "next").replace(meminfo)  # whole or not at all, as the kernel's own

    with machine.MemoryWatch(jetson) as watch:
        say(3072000)
        until(lambda: watch.peak_bytes, 60, "the fall is seen", every_s=0.01)
        say(4096000)
    assert watch.peak_bytes == 1024000 * 1024
