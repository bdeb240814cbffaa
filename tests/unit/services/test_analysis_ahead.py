"""The next image is looked at beside the one in hand: once, in its turn, and with no say in the other's answer."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest

from dicom_node.core.errors import EngineLost, NotAnalysable
from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.pipeline import Pipeline
from dicom_node.inference.preprocess import prepare
from dicom_node.ledger.spool import StateFolders
from dicom_node.part10.writer import encode
from dicom_node.services.engine import HeldEngine
from dicom_node.services.messages import AnalyseJob, Image
from dicom_node.services.model import Model
from dicom_node.services.workbench import Workbench
from dicom_node.settings import NodeSettings, Settings
from tests.conformance import report_cases as cases
from tests.support.system import BUNDLE


class Engine:
    """An embedder that notes which images it was given, one at a time, and fails where it is told to."""

    runtime = "the tests"

    def __init__(self, shape):
        self.shape, self.seen, self.fails_at = shape, [], None
        self.busy = threading.Lock()

    def embed(self, tensor):
        assert self.busy.acquire(blocking=False), "two images at once"
        try:
            self.seen.append(float(tensor.sum()))
            if len(self.seen) == self.fails_at:
                message = "the GPU failed on an image"
                raise EngineLost(message)
            return np.random.default_rng(len(self.seen)).normal(0, 0.1, self.shape).astype(np.float32)
        finally:
            self.busy.release()


class Decoder:
    """Decodes by number: an image's row count is its name's last digit; what it was asked for is noted."""

    def __init__(self):
        self.asked, self.broken = [], []

    def decode(self, path):
        number = int(path.name[0])
        self.asked.append(number)
        if number in self.broken:
            self.broken.remove(number)
            raise NotAnalysable(Reason(ReasonCode.UNDECODABLE, "the decoder ended with signal 9"))
        return Radiograph(cases.picture(300 + number, 200).astype(np.uint16) * 100)

    def close(self):
        """End nothing."""


@pytest.fixture
def bench(tmp_path):
    folders = StateFolders(tmp_path)
    folders.create()
    bundle = load_bundle(BUNDLE)
    engine = Engine(bundle.manifest.embedder.output_shape[1:])
    model = Model("ab", bundle, Pipeline(bundle, engine), None)
    bench = Workbench(Settings(node=NodeSettings(state_dir=tmp_path)), model)
    bench._decoder = Decoder()
    bench.engine = engine
    yield bench
    bench.close()


def image(bench, number):
    header = cases.header(number)
    path = bench._folders.instance_path(f"ab/{number}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(header))
    return Image(str(header.SOPInstanceUID), str(header.SOPClassUID), cases.STUDY, "DX", f"ab/{number}")


def test_a_queue_is_worked_off_with_each_image_decoded_and_given_to_the_network_once(bench):
    images = [image(bench, number) for number in range(1, 7)]
    answers = []
    for number, one in enumerate(images):
        upcoming = tuple(images[number + 1 : number + 3])
        answers.append(bench.analyse(AnalyseJob(one, f"work/{number}", upcoming)))
    assert [answer.finding.sop_instance_uid for answer in answers] == [one.sop_instance_uid for one in images]
    assert len({answer.pixels_sha256 for answer in answers}) == len(images)
    assert sorted(bench._decoder.asked) == [1, 2, 3, 4, 5, 6]
    assert len(bench.engine.seen) == len(set(bench.engine.seen)) == len(images)
    stages = ["read", "decode", "prepare", "wait", "infer", "queue", "maps", "keep"]
    assert all(list(answer.took_ms) == stages for answer in answers)
    alone = bench.analyse(AnalyseJob(images[2], "work/alone"))
    assert alone.pixels_sha256 == answers[2].pixels_sha256


def test_another_image_than_was_named_is_answered_for_itself(bench):
    one, named, came = (image(bench, number) for number in (1, 2, 3))
    bench.analyse(AnalyseJob(one, "work/1", (named,)))
    answer = bench.analyse(AnalyseJob(came, "work/3"))
    assert answer.finding.sop_instance_uid == came.sop_instance_uid
    assert answer.pixels_sha256 == bench.analyse(AnalyseJob(came, "work/again")).pixels_sha256


def test_what_nobody_asks_for_is_let_go(bench):
    one, named = image(bench, 1), image(bench, 2)
    bench.analyse(AnalyseJob(one, "work/1", (named,)))
    (begun,) = bench._ahead._begun.values()
    seen = weakref.ref(begun.result().radiograph.grey)
    del begun
    bench.forget()
    gc.collect()
    assert seen() is None
    assert bench.analyse(AnalyseJob(named, "work/2")).finding.logit is not None


def test_c29_the_same_image_with_other_bytes_is_not_the_one_that_was_looked_at(bench):
    one, named = image(bench, 1), image(bench, 2)
    bench.analyse(AnalyseJob(one, "work/1", (named,)))
    answer = bench.analyse(AnalyseJob(replace(named, sha256="0" * 64, size=10), "work/2"))
    assert answer.finding.reason.code is ReasonCode.DAMAGED


def test_c30_what_goes_wrong_ahead_is_tried_again_in_the_image_s_own_time(bench):
    one, named = image(bench, 1), image(bench, 2)
    bench._decoder.broken = [2]
    bench.analyse(AnalyseJob(one, "work/1", (named,)))
    assert bench.analyse(AnalyseJob(named, "work/2")).finding.logit is not None
    assert bench._decoder.asked == [1, 2, 2]
    bench._decoder.broken = [1, 2, 2]
    reason = bench.analyse(AnalyseJob(one, "work/3", (named,))).finding.reason
    assert reason.code is ReasonCode.UNDECODABLE
    reason = bench.analyse(AnalyseJob(named, "work/4")).finding.reason
    assert reason.text == "the decoder ended with signal 9"


def test_c44_an_engine_that_is_lost_ahead_is_lost_at_the_image_that_lost_it(bench):
    one, named = image(bench, 1), image(bench, 2)
    bench.engine.fails_at = 2
    answer = bench.analyse(AnalyseJob(one, "work/1", (named,)))
    assert answer.finding.logit is not None
    with pytest.raises(EngineLost, match="the GPU failed"):
        bench.analyse(AnalyseJob(named, "work/2"))


def test_the_image_in_hand_is_given_to_the_network_before_any_that_comes_next(bench, monkeypatch):
    one, quick = image(bench, 1), image(bench, 2)

    def slow_at_first(preprocessing, grey):
        if grey.shape[0] == 301:
            time.sleep(0.3)
        return prepare(preprocessing, grey)

    monkeypatch.setattr("dicom_node.inference.pipeline.prepare", slow_at_first)
    bench.engine.fails_at = 2
    assert bench.analyse(AnalyseJob(one, "work/1", (quick,))).finding.logit is not None
    with pytest.raises(EngineLost):
        bench.analyse(AnalyseJob(quick, "work/2"))


def test_c45_an_image_that_the_network_was_not_asked_about_is_no_measure_of_its_pace(bench):
    one = image(bench, 1)
    bench._decoder.decode = lambda _path: Radiograph(np.full((300, 200), 7, dtype=np.uint16))
    for number in range(10):
        answer = bench.analyse(AnalyseJob(one, f"work/flat-{number}"))
        assert (answer.finding.reason.code, answer.engine_ms, answer.alert) == (ReasonCode.FLAT_IMAGE, None, None)
    bench._decoder = Decoder()
    answer = bench.analyse(AnalyseJob(one, "work/real"))
    assert answer.engine_ms > 0
    assert answer.alert is None


def test_c45_loading_a_network_that_was_released_is_no_measure_of_its_pace(bench):
    clock = [0.0]
    bench._timer = lambda: clock[0]

    class Slow:
        """A runtime that takes a minute to load and a second an image."""

        runtime = "slow"

        def __init__(self):
            clock[0] += 60.0

        def embed(self, tensor):
            clock[0] += 1.0
            return bench.engine.embed(tensor)

        def close(self):
            """End nothing."""

    engine = HeldEngine(Slow, lambda _embedder: None)
    bundle = bench._model.bundle
    bench._model = Model("ab", bundle, Pipeline(bundle, engine), None, engine)
    for number in range(1, 12):
        assert bench.analyse(AnalyseJob(image(bench, number % 9), f"work/{number}")).alert is None
    bench._model.release()
    answer = bench.analyse(AnalyseJob(image(bench, 5), "work/5-again"))
    assert (answer.alert, answer.engine_ms) == (None, 1000.0)
    assert clock == [132.0], "it was loaded twice, the second time for this image"


def test_an_image_that_is_too_large_to_be_held_ahead_is_decoded_in_its_own_time(bench, monkeypatch):
    one, large = image(bench, 1), image(bench, 2)
    monkeypatch.setattr("dicom_node.services.workbench._AHEAD_BYTES", 301 * 200 * 2)
    bench.analyse(AnalyseJob(one, "work/1", (large,)))
    assert bench.analyse(AnalyseJob(large, "work/2")).finding.logit is not None
    assert bench._decoder.asked == [1, 2, 2]
    assert len(bench.engine.seen) == 2, "it was given to the network once"
