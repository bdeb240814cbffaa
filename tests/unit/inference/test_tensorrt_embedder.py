"""The TensorRT embedder on a strict double of TensorRT and CUDA. It was never run on a device."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.core.errors import BundleError, WorkerCrashed
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.plans import BuildRequest, DeviceFacts
from tests.support import cuda_double as cuda
from tests.support import tensorrt_double as double

SHAPE = (1, 1, 512, 512)


@pytest.fixture
def trt(device):
    """Return the module under test, with the double under it."""
    assert device.left() == []
    from dicom_node.inference import tensorrt_embedder  # noqa: PLC0415 - imports tensorrt

    return tensorrt_embedder


def tensor(seed=0):
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def built(trt, bundle, cache=b"", tell=lambda _: None):
    return trt.build_plan(BuildRequest(bundle.embedder_path, "image", SHAPE, 1 << 20, cache, tell))


@pytest.fixture(params=[True, False], ids=["dynamic batch", "fixed batch"])
def bundle(make_bundle, request):
    return load_bundle(make_bundle(dynamic=request.param))


@pytest.fixture
def plan(trt, bundle):
    return built(trt, bundle).plan


def test_a_built_plan_gives_what_onnx_runtime_gives_and_leaves_nothing_behind(trt, bundle, plan, device):
    embedder = trt.TensorRtEmbedder(bundle, plan)
    for seed in range(3):
        np.testing.assert_array_equal(embedder.embed(tensor(seed)), OnnxEmbedder(bundle).embed(tensor(seed)))
    assert embedder.runtime == "TensorRT 10.3.0 Orin"
    embedder.close()
    embedder.close()
    assert device.left() == []
    assert device.stack == []


def test_images_in_a_row_come_out_in_order_and_the_next_is_asked_for_while_one_runs(trt, bundle, plan):
    embedder, asked = trt.TensorRtEmbedder(bundle, plan), []

    def inputs():
        for seed in range(5):
            asked.append(seed)
            yield tensor(seed)

    results = []
    for number, features in enumerate(embedder.embed_all(inputs())):
        assert len(asked) == min(number + 3, 5)
        results.append(features)
    for seed, features in enumerate(results):  # compared at the end: none of them is memory that a later one fills
        np.testing.assert_array_equal(features, OnnxEmbedder(bundle).embed(tensor(seed)))
    assert list(embedder.embed_all([])) == []
    embedder.close()


def test_a_row_that_is_given_up_early_harms_no_later_image(trt, bundle, plan, device):
    embedder = trt.TensorRtEmbedder(bundle, plan)
    row = embedder.embed_all(tensor(seed) for seed in range(5))
    next(row)
    row.close()
    np.testing.assert_array_equal(embedder.embed(tensor(9)), OnnxEmbedder(bundle).embed(tensor(9)))
    embedder.close()
    assert device.left() == []


@pytest.mark.parametrize(
    ("step", "after"),
    [("context", 0), ("pagelocked_empty", 0), ("pagelocked_empty", 3)] + [("mem_alloc", n) for n in (0, 1, 3)],
)
def test_c44_too_little_memory_while_loading_is_said_and_leaves_nothing(trt, bundle, plan, device, step, after):
    device.fail = {step: after}
    with pytest.raises(WorkerCrashed, match=r"no room on the GPU.*end other programs"):
        trt.TensorRtEmbedder(bundle, plan)
    assert device.left() == []
    assert device.stack == []


@pytest.mark.parametrize("step", ["enqueue", "lost"])
def test_c44_a_device_that_fails_on_an_image_is_never_asked_again(trt, bundle, plan, device, step):
    embedder = trt.TensorRtEmbedder(bundle, plan)
    embedder.embed(tensor())
    device.fail = {step: 0}
    with pytest.raises(WorkerCrashed):
        embedder.embed(tensor())
    device.fail = {}
    with pytest.raises(WorkerCrashed, match="lost"):
        embedder.embed(tensor())
    embedder.close()
    assert device.stack == []


def test_c36_a_damaged_plan_and_one_of_another_tensorrt_are_refused(trt, bundle, plan, device):
    with pytest.raises(BundleError, match=r"cannot read the plan.*engine build"):
        trt.TensorRtEmbedder(bundle, plan[1:])
    device.version = "10.7.0"
    with pytest.raises(BundleError, match=r"TensorRT 10\.7\.0 cannot read the plan.*serialized with TensorRT 10\.3\.0"):
        trt.TensorRtEmbedder(bundle, plan)
    assert device.left() == []


def test_a_tensorrt_that_does_not_start_is_said(trt, bundle, plan, device):
    device.fail = {"start": 0}
    with pytest.raises(BundleError, match=r"does not start here.*CUDA initialization failure"):
        trt.TensorRtEmbedder(bundle, plan)
    with pytest.raises(BundleError, match="does not start here"):
        built(trt, bundle)
    assert device.left() == []


def test_a_plan_of_another_network_is_refused(trt, make_bundle, plan):
    other = load_bundle(make_bundle({'output_name = "features"': 'output_name = "map"'}))
    with pytest.raises(BundleError, match="manifest says otherwise"):
        trt.TensorRtEmbedder(other, plan)


@pytest.mark.parametrize("wrong", [np.zeros((1, 1, 8, 8), np.float32), np.zeros(SHAPE, np.float64)])
def test_an_input_of_another_shape_or_type_is_refused(trt, bundle, plan, wrong):
    embedder = trt.TensorRtEmbedder(bundle, plan)
    with pytest.raises(BundleError, match="do not fit"):
        embedder.embed(wrong)
    embedder.close()


def test_a_machine_without_a_gpu_is_told_which_groups_to_look_at(trt, bundle, device):
    device.fail = {"init": 0}
    with pytest.raises(BundleError, match="video and render"):
        built(trt, bundle)


def test_a_build_tells_how_far_it_is_and_its_timing_cache_is_used_again(trt, bundle, device):
    told = []
    first = built(trt, bundle, tell=told.append)
    assert told == ["Building: 0 %", "Building: 33 %", "Building: 66 %", "Building: 100 %", "Building: 100 %"]
    assert built(trt, bundle, first.timing_cache) == first
    device.version = "10.7.0"  # a cache of another TensorRT is left, not an error
    assert built(trt, bundle, first.timing_cache).timing_cache.startswith(b"10.7.0")
    assert built(trt, bundle, b"damaged").timing_cache == built(trt, bundle).timing_cache
    assert device.left() == []


def test_a_build_that_fails_says_why(trt, bundle, device):
    device.fail = {"build": 0}
    with pytest.raises(BundleError, match=r"OutOfMemory.*workspace-mib"):
        built(trt, bundle)
    assert device.left() == []
    bundle.embedder_path.write_bytes(b"no network")
    with pytest.raises(BundleError, match="Failed to parse ONNX model"):
        built(trt, bundle)
    assert device.left() == []


def test_the_device_is_described(trt):
    assert trt.device_facts() == DeviceFacts("10.3.0", "Orin", "8.7", "12.6")


@pytest.mark.parametrize("asked", ["name", "compute_capability"])
def test_a_device_that_does_not_answer_is_a_reason_to_fall_back(trt, device, monkeypatch, asked):
    def fails(_device):
        raise cuda.Error

    monkeypatch.setattr(cuda.Device, asked, fails)
    with pytest.raises(BundleError, match="does not say what it is"):
        trt.device_facts()
    assert device.left() == []


# the double is strict ------------------------------------------------------------------------------------------------


@pytest.fixture
def context(device):  # noqa: ARG001 - a fresh device
    context = cuda.Device(0).retain_primary_context()
    context.push()
    return context


def test_the_double_has_nothing_that_was_removed(context):  # noqa: ARG001 - current
    log = double.ILogger()
    builder = double.Builder(log)
    for owner, name in (
        (builder, "build_engine"),
        (builder, "build_cuda_engine"),
        (builder, "max_batch_size"),
        (builder.create_builder_config(), "max_workspace_size"),
        (builder.create_builder_config(), "set_calibration_profile"),
        (builder.create_builder_config(), "int8_calibrator"),
        (double.IExecutionContext, "execute_v2"),
        (double.IExecutionContext, "execute_async_v2"),
        (double.ICudaEngine, "get_binding_index"),
        (double.ICudaEngine, "num_bindings"),
    ):
        assert not hasattr(owner, name), name
    with pytest.raises(cuda.Refused, match="strongly typed"):
        builder.create_network(1 << double.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    with pytest.raises(cuda.Refused, match="precision is the network's"):
        builder.create_builder_config().set_flag(double.BuilderFlag.FP16)


def test_the_double_refuses_what_a_device_would_crash_on(context):
    stream, host = cuda.Stream(), cuda.pagelocked_empty((4,), np.float32)
    memory = cuda.mem_alloc(16)
    with pytest.raises(cuda.Refused, match="page-locked"):
        cuda.memcpy_htod_async(memory, np.zeros(4, np.float32), stream)
    with pytest.raises(cuda.Refused, match="8 bytes for 16"):
        cuda.memcpy_htod_async(memory, host[:2], stream)
    host[:] = 1
    cuda.memcpy_htod_async(memory, host, stream)
    host[:] = 2
    with pytest.raises(cuda.Refused, match="written to before"):
        stream.synchronize()
    cuda.memcpy_dtoh_async(host, memory, stream)
    assert np.isnan(host).all()  # read before it was waited for
    memory.free()
    with pytest.raises(cuda.Refused, match="freed"):
        cuda.memcpy_dtoh_async(host, memory, stream)
    with pytest.raises(cuda.Refused, match="twice"):
        memory.free()
    context.pop()
    with pytest.raises(cuda.LogicError, match="no CUDA context"):
        cuda.mem_alloc(16)


def test_the_double_sees_an_unset_address_and_what_was_not_released(trt, bundle, plan, device, context):  # noqa: ARG001 - current
    engine = double.Runtime(double.ILogger()).deserialize_cuda_engine(plan)
    execution = engine.create_execution_context()
    stream = cuda.Stream()
    assert execution.set_input_shape("image", SHAPE)
    assert not execution.set_input_shape("image", (1, 1, 8, 8))
    assert not execution.execute_async_v3(stream.handle)
    assert {"ICudaEngine", "IExecutionContext", "Stream"} <= set(device.left())
    kept = trt.TensorRtEmbedder(bundle, plan)
    assert device.left().count("device memory") == device.left().count("page-locked memory") == 4
    kept.close()
