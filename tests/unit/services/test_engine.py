"""Which runtime the worker takes, when it lets go of it, and when it stops trusting it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from structlog.testing import capture_logs

from dicom_node.cli.main import main
from dicom_node.core.errors import BundleError, EngineLost, WorkerCrashed
from dicom_node.core.model_identity import FALLBACK
from dicom_node.inference import plans
from dicom_node.inference.bundle import load_bundle
from dicom_node.lab import bundle_files
from dicom_node.services import engine
from dicom_node.services.engine import HeldEngine, open_engine
from dicom_node.services.model import load_model
from dicom_node.services.strikes import Strikes
from dicom_node.settings import AnalysisSettings

TENSOR = np.random.default_rng(0).normal(size=(1, 1, 512, 512)).astype(np.float32)


@pytest.fixture
def strikes_file(tmp_path):
    return tmp_path / "engine-strikes.json"


@pytest.fixture
def accepted(device, compact, monkeypatch, capsys):
    """Return the folder of a bundle with a plan that passed its acceptance on the drawn device."""
    monkeypatch.setattr("dicom_node.cli.engine.trial.trial_images", few_images)
    monkeypatch.setattr("dicom_node.inference.acceptance.IMAGES_MIN", 2)
    assert main(["engine", "build", str(compact)]) == 0, capsys.readouterr().out
    assert device.left() == []
    return compact


def few_images(_folder):
    generator = np.random.default_rng(3)
    for _ in range(2):
        grey = np.zeros((600, 400), dtype=np.uint16)
        grey[:, 100:300] = generator.integers(20000, 60000, (600, 200))
        yield grey


def settings(bundle, **more):
    return AnalysisSettings(bundle=bundle, threads=1, **more)


def runtime_of(choice):
    return choice.engine.runtime.split()[0]


def test_auto_is_onnx_runtime_without_a_word_where_tensorrt_is_not_installed(compact, strikes_file, monkeypatch):
    monkeypatch.setattr(plans, "MODULES", ("no_such_module",))
    choice = open_engine(load_bundle(compact), settings(compact), strikes_file)
    assert (runtime_of(choice), choice.fallback) == ("ONNX", None)


@pytest.mark.parametrize("runtime", ["auto", "tensorrt"])
def test_an_accepted_plan_is_used(accepted, strikes_file, runtime):
    choice = open_engine(load_bundle(accepted), settings(accepted, runtime=runtime, fallback=False), strikes_file)
    assert choice.engine.runtime == "TensorRT 10.3.0 Orin"
    assert choice.fallback is None
    expected = open_engine(load_bundle(accepted), settings(accepted, runtime="onnxruntime"), strikes_file)
    assert runtime_of(expected) == "ONNX"
    np.testing.assert_allclose(choice.engine.embed(TENSOR), expected.engine.embed(TENSOR), atol=1e-5)


def break_nothing_built(folder, _device):
    plans.remove(folder, frozenset(facts.key.name for facts in plans.saved(folder)))


def break_other_tensorrt(_folder, device):
    device.version = "10.7.0"


def break_plan(folder, _device):
    (path,) = (path for path in folder.glob("embedder-*.plan") if "facts" not in path.name)
    path.write_bytes(path.read_bytes()[:-1])


def break_memory(_folder, device):
    device.fail = {"mem_alloc": 1}


def break_arithmetic(_folder, device):
    device.error = 0.5


def break_numbers(_folder, device):
    device.error = float("nan")


def break_gpu(_folder, device):
    device.fail = {"init": 0}


@pytest.mark.parametrize("runtime", ["auto", "tensorrt"])
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (break_nothing_built, "no TensorRT plan was built"),
        (break_other_tensorrt, "TensorRT was 10.3.0, is 10.7.0"),
        (break_plan, "altered since it was built"),
        (break_memory, "no room on the GPU"),
        (break_gpu, "no usable CUDA device"),
        (break_arithmetic, "where it answered"),
        (break_numbers, "answers nan where it answered"),
    ],
)
def test_c44_what_is_wrong_with_tensorrt_is_said_and_onnx_runtime_takes_over(
    accepted, device, strikes_file, runtime, broken, said
):
    broken(accepted, device)
    with capture_logs() as events:
        model = load_model(settings(accepted, runtime=runtime), strikes_file)
    assert said in model.fallback
    assert model.runtime.startswith("ONNX Runtime")
    assert f"(instead of TensorRT: {model.fallback})" in model.runtime
    assert (FALLBACK, model.fallback) in model.pipeline.model.parameters
    assert str(accepted) not in model.fallback
    assert model.stale is (broken in {break_nothing_built, break_other_tensorrt, break_plan})
    assert [event["event"] for event in events] == ["engine.fallback"]
    assert device.left() == []


def test_without_fallback_there_is_no_result_and_the_reason_is_said(accepted, device, strikes_file):
    device.version = "10.7.0"
    model = load_model(settings(accepted, runtime="tensorrt", fallback=False), strikes_file)
    assert model.pipeline is None
    assert "TensorRT was 10.3.0, is 10.7.0" in model.problem
    assert model.stale
    device.version, device.fail = "10.3.0", {"mem_alloc": 0}
    with pytest.raises(WorkerCrashed, match="no room"):
        load_model(settings(accepted, runtime="tensorrt", fallback=False), strikes_file)


def test_c44_an_engine_that_ended_the_worker_twice_is_not_used_before_the_next_boot(accepted, device, strikes_file):
    bundle = load_bundle(accepted)
    for _ in range(2):
        choice = open_engine(bundle, settings(accepted), strikes_file)
        assert runtime_of(choice) == "TensorRT"
        device.fail = {"lost": 0}
        with pytest.raises(EngineLost, match="the GPU failed"):
            choice.engine.embed(TENSOR)
        device.fail = {}
    choice = open_engine(bundle, settings(accepted), strikes_file)
    assert (runtime_of(choice), choice.fallback) == (
        "ONNX",
        "TensorRT ended the worker 2 times in a row since this machine was started",
    )
    assert runtime_of(open_engine(bundle, settings(accepted, crash_limit=4), strikes_file)) == "TensorRT"
    without = settings(accepted, runtime="tensorrt", fallback=False)
    assert runtime_of(open_engine(bundle, without, strikes_file)) == "TensorRT"


def test_c44_a_worker_that_dies_while_loading_is_counted_too(accepted, device, strikes_file, monkeypatch):
    class Killed(BaseException):
        """Stands for the end of the process: no code of ours sees it."""

    bundle, end_of_process = load_bundle(accepted), Strikes.take_back

    def killed():
        raise Killed

    monkeypatch.setattr(Strikes, "take_back", lambda _self: None)
    with monkeypatch.context() as loading:
        loading.setattr(engine, "_module", killed)
        for _ in range(2):
            with pytest.raises(Killed):
                open_engine(bundle, settings(accepted), strikes_file)
    monkeypatch.setattr(Strikes, "take_back", end_of_process)
    device.fail = {"init": 0}  # it is not even asked any more
    assert "2 times in a row" in open_engine(bundle, settings(accepted), strikes_file).fallback


def test_loading_that_fails_in_words_is_no_strike(accepted, device, strikes_file):
    device.fail = {"mem_alloc": 0}
    for _ in range(4):
        assert "no room" in open_engine(load_bundle(accepted), settings(accepted), strikes_file).fallback
    assert not strikes_file.exists()


def test_an_answer_clears_what_was_counted(accepted, strikes_file):
    choice = open_engine(load_bundle(accepted), settings(accepted), strikes_file)
    strikes = Strikes(strikes_file, plans.fingerprint(accepted))
    strikes.note()
    assert strikes.count() == 1
    choice.engine.embed(TENSOR)
    assert strikes.count() == 0


def test_strikes_are_of_one_plan_and_one_boot(strikes_file, monkeypatch, tmp_path):
    first = Strikes(strikes_file, "ab")
    first.note()
    first.note()
    assert first.count() == 2
    assert Strikes(strikes_file, "cd").count() == 0
    first.take_back()
    assert first.count() == 1
    first.take_back()
    assert not strikes_file.exists()
    first.note()
    (tmp_path / "boot").write_text("another boot")
    monkeypatch.setattr("dicom_node.services.strikes._BOOT_ID", tmp_path / "boot")
    assert first.count() == 0
    strikes_file.write_text("nonsense")
    assert first.count() == 0


def test_a_state_folder_that_is_not_there_yet_stops_nothing(accepted, tmp_path):
    choice = open_engine(load_bundle(accepted), settings(accepted), tmp_path / "not yet" / "engine-strikes.json")
    assert runtime_of(choice) == "TensorRT"
    assert choice.engine.embed(TENSOR).shape == (32, 32, 96)


def test_a_released_engine_holds_nothing_and_comes_back_with_the_next_image(accepted, device, strikes_file):
    choice = open_engine(load_bundle(accepted), settings(accepted), strikes_file)
    before = choice.engine.embed(TENSOR)
    assert device.left()
    assert choice.engine.release()
    assert device.left() == []
    assert not choice.engine.release()
    np.testing.assert_array_equal(choice.engine.embed(TENSOR), before)
    assert choice.engine.runtime == "TensorRT 10.3.0 Orin"
    choice.engine.close()
    break_plan(accepted, device)
    with pytest.raises(EngineLost, match="could not be loaded again"):
        choice.engine.embed(TENSOR)


def test_a_network_that_was_changed_while_it_was_released_is_not_loaded_again(compact, strikes_file):
    choice = open_engine(load_bundle(compact), settings(compact, runtime="onnxruntime"), strikes_file)
    assert choice.engine.release()
    assert choice.engine.embed(TENSOR).shape == (32, 32, 96), "the same network comes back"
    choice.engine.release()
    network = onnx.load(str(compact / "embedder.onnx"))
    network.producer_name = "another"  # it answers the known image as before
    onnx.save(network, str(compact / "embedder.onnx"))
    with pytest.raises(EngineLost, match=r"could not be loaded again: .*embedder\.onnx: altered"):
        choice.engine.embed(TENSOR)
    bundle_files.write_sums(compact)  # another bundle in the same place
    with pytest.raises(EngineLost, match="could not be loaded again"):
        choice.engine.embed(TENSOR)


def test_a_provider_that_is_not_installed_is_one_line(compact, strikes_file):
    model = load_model(settings(compact, runtime="onnxruntime", providers=("TensorrtExecutionProvider",)), strikes_file)
    assert model.problem == (
        "ONNX Runtime has no TensorrtExecutionProvider; install its build for this device or choose another"
    )


def test_onnx_runtime_s_failure_ends_the_worker_too():
    class Failing:
        runtime = "failing"

        def embed(self, _tensor):
            message = "ONNX Runtime failed on an image"
            raise WorkerCrashed(message)

    with pytest.raises(EngineLost, match="failed on an image"):
        HeldEngine(Failing, lambda _embedder: None).embed(TENSOR)


class Answering:
    """An embedder that gives the same features to whatever it is asked, and counts how often it was closed."""

    runtime = "answering"
    closed = 0

    def embed(self, _tensor):
        return np.arange(400, dtype=np.float32).reshape(2, 2, 100)

    def close(self):
        self.closed += 1


def test_c45_another_known_answer_at_the_start_and_nothing_is_scored(compact, strikes_file):
    manifest = compact / "manifest.toml"
    manifest.write_text(
        manifest.read_text().replace("tolerance = 0.05", "tolerance = 1e-12").replace("logit = -", "logit = ")
    )
    bundle_files.write_sums(compact)
    model = load_model(settings(compact), strikes_file)
    assert (model.pipeline, model.runtime) == (None, "none")
    assert "nothing is scored" in model.problem


def test_c45_the_known_answer_is_asked_again_of_an_engine_that_is_loaded():
    engine, asked = Answering(), []

    def prove(_embedder):
        asked.append(1)
        if len(asked) > 2:
            message = "the model answers 2 where 1 is right"
            raise BundleError(message)

    held = HeldEngine(lambda: engine, prove)
    held.test()
    assert len(asked) == 2
    held.release()
    held.test()
    assert len(asked) == 2
    with pytest.raises(EngineLost, match="could not be loaded again: the model answers 2"):
        held.embed(TENSOR)
    assert engine.closed == 2


def test_c45_a_failed_self_test_loses_the_engine():
    answers = [None, BundleError("the model answers 2 where 1 is right")]

    def prove(_embedder):
        answer = answers.pop(0)
        if answer:
            raise answer

    with pytest.raises(EngineLost, match="the self-test failed: the model answers 2"):
        HeldEngine(Answering, prove).test()


def test_c45_features_that_stay_when_the_image_changes_lose_the_engine():
    held = HeldEngine(Answering, lambda _embedder: None)
    np.testing.assert_array_equal(held.embed(TENSOR), held.embed(TENSOR.copy()))
    with pytest.raises(EngineLost, match="features of the image before for another one"):
        held.embed(TENSOR + 1)


def test_tensorrt_whose_libraries_do_not_load_is_said(accepted, monkeypatch, strikes_file):
    def broken():
        message = "TensorRT's modules do not load (ImportError); see docs/jetson.md"
        raise BundleError(message)

    monkeypatch.setattr(engine, "_module", broken)
    assert "do not load" in open_engine(load_bundle(accepted), settings(accepted), strikes_file).fallback
