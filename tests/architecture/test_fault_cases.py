"""docs/faults.md says of every case which tests hold it, and says it truly."""

from __future__ import annotations

import re

import pytest

from tests.support.fault_cases import CASES, PAGE, STATES, all_tests, cases_of, rows

RENEW = "python -m tests.support.fault_cases"


@pytest.fixture(scope="module")
def table():
    return rows(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tests():
    return all_tests()


def test_every_case_has_one_row_in_order(table):
    assert [row.case for row in table] == list(CASES)
    assert all(row.promise for row in table)


def test_every_test_of_the_table_exists(table, tests):
    assert {name for row in table for name in row.tests} - tests == set(), RENEW


def test_every_test_that_is_named_for_a_case_stands_in_its_row(table, tests):
    listed = {(row.case, name) for row in table for name in row.tests}
    assert {(case, name) for name in tests for case in cases_of(name)} - listed == set(), RENEW


def test_what_is_held_has_a_test_and_what_is_not_says_what_is_missing(table):
    for row in table:
        state = next(state for state in STATES if row.state.startswith(state))
        assert row.tests or state == "not yet", row.case
        assert state == "held" or len(row.state) > len(state) + 10, row.case


def test_names_are_read_as_they_are_meant():
    assert cases_of("test_c39_c40_a_disk") == {39, 40}
    assert cases_of("test_cases_c22_to_c24_all") == {22, 23, 24}
    assert cases_of("test_case_c05_x") == {5}
    assert cases_of("test_color") == set()


def test_the_threat_model_answers_with_every_case(table):
    page = (PAGE.parent / "threat-model.md").read_text(encoding="utf-8")
    threats = re.findall(r"^\| T(\d+) .*? \| ((?:C\d+ ?)+)\|$", page, flags=re.MULTILINE)
    assert [int(number) for number, _ in threats] == list(range(1, 18))
    named = {int(number) for _, text in threats for number in re.findall(r"C(\d+)", text)}
    assert named == {row.case for row in table}
