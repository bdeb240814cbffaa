"""Whatever happens to the ledger in whatever order: what it promises holds. Longer: `scripts/bench fuzz --ledger`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.ledger_machine import LedgerMachine

SHORT = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # what fails is made small by hand: doing it here takes minutes
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_in_whatever_order_the_ledger_keeps_its_promises() -> None:
    run_state_machine_as_test(LedgerMachine, settings=SHORT)
