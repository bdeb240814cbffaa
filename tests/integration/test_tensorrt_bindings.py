"""The TensorRT embedder against the signatures of TensorRT's own bindings: 10.3 (JetPack 6.2), the last 10.x, 11.x."""

from __future__ import annotations

import pytest

from tests.support import tensorrt_bindings

SOURCE = tensorrt_bindings.REPOSITORY / "dicom_node" / "inference" / "tensorrt_embedder.py"
VERSIONS = [
    ("tensorrt-cu12-bindings", "10.3.0"),
    ("tensorrt-cu12-bindings", "10.16.1.11"),
    ("tensorrt-cu13-bindings", "11.4.0.106"),
]


@pytest.fixture(scope="module", params=VERSIONS, ids=[version for _, version in VERSIONS])
def types(request):
    """Return the types of one version's bindings; what was downloaded is kept in build/."""
    package, version = request.param
    if tensorrt_bindings.compiler() is None:
        pytest.skip("no C compiler: apt-get install gcc, to read the types of TensorRT's bindings")
    folder = tensorrt_bindings.REPOSITORY / "build" / "tensorrt-bindings" / version
    folder.mkdir(parents=True, exist_ok=True)
    if not tensorrt_bindings.download(package, version, folder):
        pytest.skip(f"{package} {version} cannot be had for this Python from the package registry")
    return tensorrt_bindings.stubs(folder, version)


def test_every_call_has_the_signature_of_the_bindings(types, tmp_path):
    assert tensorrt_bindings.check(SOURCE, types, tmp_path).startswith("Success: no issues found")


WRONG = [
    ("execute_async_v3(loaded.stream.handle)", "execute_async_v2([], loaded.stream.handle)", '"execute_async_v2"'),
    ("builder.build_serialized_network(", "builder.build_engine(", '"build_engine"'),
    ("self._input, int(slot.device_in)", "0, int(slot.device_in)", "incompatible type"),
    ("set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE,", "set_memory_pool_limit(", "Missing positional"),
]


def test_removed_and_wrong_calls_would_be_found(types, tmp_path):
    source = SOURCE.read_text(encoding="utf-8")
    for call, instead, _ in WRONG:
        assert call in source
        source = source.replace(call, instead)
    (tmp_path / "changed.py").write_text(source, encoding="utf-8")
    found = tensorrt_bindings.check(tmp_path / "changed.py", types, tmp_path)
    assert [said for _, _, said in WRONG if said not in found] == []
