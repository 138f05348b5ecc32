from __future__ import annotations

from llmasos.server.serving.circuit import Circuit


def test_a_circuit_opens_after_failures_in_a_row_and_tries_once() -> None:
    now = [0.0]
    circuit = Circuit(3, 10.0, clock=lambda: now[0])
    assert not circuit.failed() and not circuit.failed()
    circuit.succeeded()  # the row is broken
    assert not circuit.failed() and not circuit.failed() and circuit.failed()
    assert circuit.closed_in() == 10.0
    now[0] = 10.0
    assert circuit.closed_in() == 0.0  # one goes ahead
    assert circuit.closed_in() > 0  # and one alone
    assert circuit.failed()
    assert circuit.closed_in() == 10.0
    now[0] = 20.0
    assert circuit.closed_in() == 0.0
    circuit.succeeded()
    assert circuit.closed_in() == 0.0
