"""Types of TensorRT's real Python bindings, of any version, on a machine without TensorRT or a GPU.

NVIDIA's wheels of the bindings bring no type information, but their native module tells the signature of every call. It
loads over libraries that have the nine functions it links to and nothing else; mypy's stubgen then writes down what it
sees. The signatures are NVIDIA's own; nothing can be run.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_MYPY = """
[mypy]
strict = true
python_version = 3.10
warn_unused_ignores = false
untyped_calls_exclude = tensorrt
[mypy-tensorrt.*]
ignore_errors = true
[mypy-pycuda.*,cv2.*,onnxruntime.*,imagecodecs.*,safetensors.*]
ignore_missing_imports = true
"""


def download(package: str, version: str, folder: Path) -> bool:
    """Unpack the bindings' wheel of a version into a folder, as the module `tensorrt`; False where it cannot be had."""
    if (folder / "tensorrt").is_dir():
        return True
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "-d", str(wheels), f"{package}=={version}"], capture_output=True, timeout=120, check=False
    )
    if done.returncode:
        return False
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    (folder / "unpacked" / "tensorrt_bindings").rename(folder / "tensorrt")
    return True


def compiler() -> str | None:
    """Return a C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def stubs(folder: Path, version: str) -> Path:
    """Write the types of the unpacked bindings and return the folder that holds them."""
    target = folder / "stubs"
    if target.is_dir():
        return target
    libraries = _libraries(folder, version.partition(".")[0])
    environment = dict(os.environ, LD_LIBRARY_PATH=str(libraries), PYTHONPATH=str(folder))
    written = folder / "written"
    command = [str(_BIN / "stubgen"), "--inspect-mode", "-m", "tensorrt", "-m", "tensorrt.tensorrt", "-o", str(written)]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder, timeout=200)
    path = written / "tensorrt" / "tensorrt.pyi"
    path.write_text(_readable(path.read_text()))
    written.rename(target)
    return target


def _libraries(folder: Path, major: str) -> Path:
    """Compile the libraries that the native module links to: nine functions that answer nothing."""
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    source = libraries / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for name in _LIBRARIES:
        soname = f"lib{name}.so.{major}"
        command = [compiler() or "cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(libraries / soname)]
        subprocess.run([*command, str(source)], check=True, timeout=200)
    return libraries


def _readable(text: str) -> str:
    """Return stubgen's file without the lines that are no Python, and with `bool` meaning the type it means there."""
    lines = ["from builtins import bool as _bool", *re.sub(r"(->|:) bool\b", r"\1 _bool", text).splitlines()]
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            lines[(error.lineno or 1) - 1] = ""
        else:
            return "\n".join(lines)


def check(source: Path, types: Path, scratch: Path) -> str:
    """Return what mypy, in strict mode, says of a file against these types."""
    config = scratch / "mypy.ini"
    config.write_text(_MYPY)
    command = [str(_BIN / "mypy"), "--config-file", str(config), "--cache-dir", str(types.parent / "mypy-cache")]
    environment = dict(os.environ, MYPYPATH=f"{types}{os.pathsep}{REPOSITORY}")
    done = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, check=False, env=environment, cwd=scratch, timeout=250
    )
    return done.stdout + done.stderr
