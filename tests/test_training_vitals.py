"""What a watched fit tells of its steps: rate, norms, speed, each since the evaluation before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from eventscore_training.vitals import Vitals  # noqa: E402

pytestmark = pytest.mark.training


def test_steps_are_told_since_the_last_evaluation_which_costs_no_speed() -> None:
    parameters = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    optimizer = torch.optim.SGD([parameters[0].requires_grad_()], lr=0.5)
    # Two steps take two seconds; then eight of an evaluation pass, and one step takes half a second.
    moments: Iterator[float] = iter([10.0, 12.0, 20.0, 20.5])
    vitals = Vitals(parameters, optimizer, clock=lambda: next(moments))
    for norm in (1.0, 3.0):
        vitals.begin()
        vitals.step(torch.tensor(norm), 100)
    assert vitals.told() == {"learning_rate": 0.5, "gradient_norm": 2.0, "parameter_norm": 5.0, "rows_per_second": 100}
    vitals.begin()
    optimizer.param_groups[0]["lr"] = 0.25
    vitals.step(torch.tensor(7.0), 30)
    assert vitals.told() == {"learning_rate": 0.25, "gradient_norm": 7.0, "parameter_norm": 5.0, "rows_per_second": 60}
