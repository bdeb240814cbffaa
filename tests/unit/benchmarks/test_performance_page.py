"""The page says what the records hold: each figure beside its goal and peer, what was missed, and on what machine."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.performance_page import Decision, number, page
from tests.benchmarks.performance_plots import draw
from tests.benchmarks.performance_shapes import read
from tests.benchmarks.record import AT_LEAST, AT_MOST, Curve, Figure, Peer, Record, from_json

QUIET = {"cpu": "A processor", "cores": 4, "load": 0.1, "at": "2026-11-26 02:00 UTC"}


def a_record(*figures: Figure, rounds: int = 5, **machine: object) -> Record:
    curves = {"sizes": Curve([1, 10], {"a": [1.0, 2.0]}), "names": Curve(["x", "y"], {"": [1.0, 2.0]}, "", "ms")}
    used = {"node": {"cpu_s": 1.25, "peak_mb": 60.0}}
    return Record(
        "ingest", QUIET | machine, 7, rounds, figures, curves, used, "`scripts/bench ingest`: how it\nis done."
    )


def rows_of(text: str, name: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if name in line]


def test_a_figure_stands_beside_its_goal_and_its_peer():
    peer = Peer.of("Orthanc", [90.0, 110.0, 100.0], goal=3.0)
    text = page([a_record(Figure.of("rate", "MB/s", [250.0, 310.0, 350.0], (AT_LEAST, None), peer))], {}, {}, {})
    assert "**1 of 1 goals are reached.**" in text
    assert rows_of(text, "rate") == [
        ["rate", "310 MB/s (250 to 350)", "at least 3 x Orthanc", "yes", "Orthanc: 100 MB/s", "3.1 x"]
    ]


def test_what_is_not_reached_is_said_first_and_where_it_stands():
    figures = (Figure.of("p99", "ms", [18.0], (AT_MOST, 17.0)), Figure.of("CPU", "s/GB", [0.8]))
    text = page([a_record(*figures)], {}, {}, {})
    assert "**0 of 1 goals are reached.**" in text
    assert rows_of(text, "p99") == [
        ["Receiving", "p99", "18 ms", "at most 17 ms"],
        ["p99", "18 ms", "at most 17 ms", "**no**"],
    ]
    assert rows_of(text, "CPU ")[0] == ["CPU", "0.8 s/GB", "", ""]


@pytest.mark.parametrize(
    ("value", "peer", "goal", "goal_is", "reached"),
    [
        (9.0, None, 10.0, AT_MOST, True),
        (11.0, None, 10.0, AT_MOST, False),
        (9.0, None, 10.0, AT_LEAST, False),
        (9.0, Peer("x", 4.0, goal=2.0), 5.0, AT_LEAST, True),
        (7.0, Peer("x", 4.0, goal=2.0), 5.0, AT_LEAST, False),
        (7.0, Peer("x", 4.0, goal=2.0), 5.0, AT_MOST, False),
        (7.0, Peer("x", 4.0), None, AT_MOST, None),
    ],
)
def test_a_goal_is_reached_where_every_bound_is_kept(value, peer, goal, goal_is, reached):
    assert Figure.of("f", "ms", [value], (goal_is, goal), peer).reached is reached


def test_machine_and_work_of_others_are_told():
    figure = Figure.of("rate", "MB/s", [1.0])
    quiet, busy = page([a_record(figure)], {}, {}, {}), page([a_record(figure, load=3.0)], {}, {}, {})
    assert "A processor, 4 cores, 2026-11-26 02:00 UTC; 5 rounds, seed 7; load before it 0.1." in quiet
    assert "at work" not in quiet
    assert "Other programs were at work" in busy
    assert "A quick run" in page([a_record(figure, rounds=2)], {}, {}, {})
    assert "| node | 1.25 | 60 |" in quiet
    assert "How it is done." in quiet


def test_what_was_not_measured_is_said_with_the_reason_and_decisions_are_linked():
    found = {"ingest": [Decision("34. Own receive path", "adr/0034-own-receive-path.md")]}
    text = page([a_record()], {"send": "ended after 600 s"}, {"ingest": "images/performance-ingest.png"}, found)
    assert "- Not measured: send: ended after 600 s" in text
    assert "[34. Own receive path](adr/0034-own-receive-path.md)" in text
    assert "](images/performance-ingest.png)" in text


def test_a_record_is_the_same_after_it_was_kept(tmp_path):
    record = a_record(Figure.of("rate", "MB/s", [1.0, 3.0], (AT_LEAST, 2.0), Peer.of("Orthanc", [2.0])))
    record.write(tmp_path / "ingest.json")
    assert read(tmp_path / "ingest.json") == record


def test_little_is_enough_for_a_record():
    record = from_json({"bench": "x", "figures": [{"name": "f", "value": 2}]})
    assert record.figures == (Figure("f", "", 2.0, 2.0, 2.0, 1),)
    with pytest.raises(KeyError):
        from_json({"figures": []})


def test_the_runs_of_ingest_become_figures_beside_each_receiver(tmp_path):
    of = {"node": 600.0, "orthanc": 200.0, "storescp": 500.0, "bare": 900.0}
    rest = {
        "p99_ms": 9.0,
        "cpu_s_per_gb": 0.7,
        "peak_rss_mb": 60.0,
        "sender": "raw",
        "workload": "A",
        "associations": 1,
    }
    rows = [rest | {"receiver": who, "mb_per_s": rate + more} for more in (-1.0, 0.0, 1.0) for who, rate in of.items()]
    (tmp_path / "ingest.json").write_text(json.dumps(rows))
    record = read(tmp_path / "ingest.json")
    rates = {one.peer.name: (one.value, one.peer.value, one.reached) for one in record.figures if one.unit == "MB/s"}
    assert rates == {
        "Orthanc": (600.0, 200.0, True),
        "storescp": (600.0, 500.0, True),
        "bare Python": (600.0, 900.0, None),
    }
    costs = [(one.peer.name, one.reached) for one in record.figures if one.unit == "s/GB"]
    assert costs == [("Orthanc", True), ("bare Python", None)]
    assert record.rounds == 3
    lines = {"node": [600.0], "Orthanc": [200.0], "storescp": [500.0], "bare Python": [900.0]}
    assert record.curves["Receiving"].lines == lines
    assert "Orthanc" in record.method


def test_the_rounds_of_throughput_and_the_stages_of_answer_become_figures(tmp_path):
    rates = {
        "node": {"per_s": [27.0, 29.0, 28.0], "cpu_ms": [70.0] * 3},
        "bare": {"per_s": [30.0] * 3, "cpu_ms": [60.0] * 3},
    }
    both = {"1": {"rates": rates}, "2": {"rates": rates | {"bare": {"per_s": [50.0] * 3, "cpu_ms": [40.0] * 3}}}}
    (tmp_path / "throughput.json").write_text(json.dumps({"load": [0.2, 0.1, 0.1], "threads": both}))
    one, _, two, spent = read(tmp_path / "throughput.json").figures
    assert (one.name, one.value, one.peer.value, one.reached) == (
        "1 thread of the runtime: radiographs",
        28.0,
        30.0,
        True,
    )
    assert (two.peer.value, two.reached, spent.peer.value) == (50.0, False, 40.0)
    spread = {"samples": 9, "median": 120.0, "p95": 130.0, "largest": 140.0}
    kind = {"kind": "2 views as in FracAtlas", "receiver": "storescp", "studies": 9, "problems": ["one was late"]}
    moments = {"after_close_ms": {"composed": spread, "report": spread}, "stages_ms": {"compose": spread}}
    (tmp_path / "answer.json").write_text(json.dumps({"load": [0.2, 0.1, 0.1], "kinds": [kind | moments]}))
    record = read(tmp_path / "answer.json")
    assert [(one.value, one.goal, one.reached) for one in record.figures] == [(120.0, None, None), (120.0, 150.0, True)]
    assert record.curves["Stages of an answer"].lines == {"2 views as in FracAtlas to storescp": [120.0]}
    assert record.problems == ["2 views as in FracAtlas to storescp: one was late"]


def test_a_picture_is_drawn_of_lines_and_of_bars_and_stays_small(tmp_path):
    pytest.importorskip("matplotlib", reason="the lab's libraries are not installed")
    assert draw(a_record(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.png").stat().st_size < 60_000
    assert not draw(Record("x", {}, 1, 1, []), tmp_path / "b.png")


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text
