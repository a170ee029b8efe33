"""Refusing inputs of no known task at a rate that holds for new inputs, whatever the scores."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Abstention, ExactStream, Separate, Split, Task, TaskStream, Training
from bayeshnet.features import RandomFourier
from bayeshnet.runs.results.ood import measure_abstention, predict_all
from tests.support.tasks import learn

QUICK = Separate(MLPNetwork((2,)), MeanFieldWeights(), training=Training(steps=1), num_samples=2)


def test_thresholds_are_order_statistics_of_each_tasks_own_scores():
    rule = Abstention.calibrate([torch.arange(99.0), -torch.arange(39.0)], 0.05)
    assert rule.thresholds.tolist() == [4.0, -37.0]  # the 5th of 99, the 2nd of 39
    scores = torch.tensor([[3.9, -38.0], [4.0, -38.0], [0.0, 5.0]])
    assert rule.refused(scores).tolist() == [True, False, False]
    torch.testing.assert_close(rule.ood_score(scores), torch.tensor([0.1, 0.0, -42.0]))


def test_few_examples_cannot_promise_a_small_rate():
    rule = Abstention.calibrate([torch.randn(10)], 0.05)
    assert rule.thresholds.item() == -torch.inf
    assert not rule.refused(torch.full((1, 1), -1e9)).any()


def test_false_alarms_of_new_inputs_stay_below_the_rate():
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(300):
        scores = torch.randn(79, generator=generator, dtype=torch.float64).exp()
        new = torch.randn(2000, 1, generator=generator, dtype=torch.float64).exp()
        rates.append(float(Abstention.calibrate([scores], 0.1).refused(new).double().mean()))
    # k = 8 of n = 79: a new score falls below the 8th smallest with probability 8 / 80, less what is equal to it.
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.006)


def test_bad_rates_and_shapes_are_named():
    with pytest.raises(ValueError, match="false_alarm"):
        Abstention.calibrate([torch.randn(10)], 1.0)
    with pytest.raises(ValueError, match="false_alarm"):
        Abstention.calibrate([], 0.1)
    with pytest.raises(ValueError, match=r"scores\[1\]"):
        Abstention.calibrate([torch.randn(10), torch.randn(10, 3)], 0.1)


def test_the_former_name_of_the_score_warns():
    rule, scores = Abstention.calibrate([torch.arange(99.0)]), torch.tensor([[3.0], [9.0]])
    with pytest.warns(DeprecationWarning, match=r"use Abstention\.ood_score"):
        assert torch.equal(rule.foreignness(scores), rule.ood_score(scores))


def images_of(layout):
    """Two tasks of noisy images, a color bright on the left in each, and foreign images, in a layout."""
    generator, tasks = torch.Generator().manual_seed(0), []

    def laid(x):
        return x if layout == "CHW" else x.movedim(1, -1).contiguous()

    for number in range(2):
        x = 0.2 * torch.rand(120, 3, 6, 6, generator=generator)
        x[:, number, :, :3] += torch.rand(120, 1, 1, generator=generator)
        y = torch.arange(120) % 2
        parts = (Split(laid(part), labels) for part, labels in zip(x.chunk(2), y.chunk(2), strict=True))
        tasks.append(Task(f"task {number}", *parts, 2, labels=(2 * number, 2 * number + 1), info={"layout": layout}))
    return TaskStream(tasks, outliers={"noise": laid(torch.rand(20, 3, 6, 6, generator=generator))})


def test_thresholds_of_images_do_not_depend_on_the_layout():
    """Densities without the calibration inputs are of the same features as those that are kept."""
    learner, found = QUICK, {}
    for layout in ("CHW", "HWC"):
        stream = images_of(layout)
        state = learn(learner, stream)
        found[layout] = predict_all(learner, state, stream, 0)
        assert learner.predict_each(state, stream[0].test.x[:0]).scores().shape == (0, 2)
    for first, last in zip(found["CHW"].calibration, found["HWC"].calibration, strict=True):
        torch.testing.assert_close(first.log_density, last.log_density, rtol=1e-4, atol=1e-3)
    rates = [measure_abstention(each).scores["density"].false_alarm for each in found.values()]
    assert rates[0] == rates[1] > 0


@pytest.mark.parametrize("learner", [ExactStream(RandomFourier(5)), QUICK])
def test_a_task_of_one_example_has_no_threshold(learner):
    """One score cannot promise a rate; the run ends with results all the same."""
    tasks, x = [], torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for number in range(2):
        own = Split(x[number : number + 1], torch.tensor([number]))
        tasks.append(Task(f"task {number}", own, own, 2, labels=(2 * number, 2 * number + 1)))
    stream = TaskStream(tasks, outliers={"others": x[2:]})
    found = predict_all(learner, learn(learner, stream), stream, 0)
    rates = measure_abstention(found)
    assert all(each.scores("density").isfinite().all() for each in found.calibration)
    assert {score.false_alarm for score in rates.scores.values()} == {0.0}


def test_a_task_of_one_example_after_large_ones_has_no_threshold():
    """Where weights of the evidence were learned, and all that is known of the last task is taken out of it."""
    generator, tasks = torch.Generator().manual_seed(0), []
    for number, size in enumerate((100, 100, 1)):
        x = 0.3 * torch.randn(size, 3, generator=generator)
        x[:, number] += 3
        own = Split(x, torch.arange(size) % 2)
        tasks.append(Task(f"task {number}", own, own, 2, labels=(2 * number, 2 * number + 1)))
    stream = TaskStream(tasks, outliers={"others": torch.randn(5, 3, generator=generator)})
    found = predict_all(QUICK, learn(QUICK, stream), stream, 0)
    assert all(bool(each.scores("evidence").isfinite().all()) for each in found.calibration)
    assert set(measure_abstention(found).scores) == {"entropy", "mutual_information", "density", "combined"}
