"""Several processes train as one with the whole batch and all samples: parameters, records, refusals."""

import pytest
import torch

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import ExactStream, NoiseOutliers, Separate, Training
from bayeshnet.continual.losses.outlier_exposure import OutlierExposure
from bayeshnet.data import split_digits
from bayeshnet.estimators import SSGE
from bayeshnet.features import RandomProjection
from bayeshnet.inference import EarlyStopping, fit
from bayeshnet.parallel import ProcessLostError
from bayeshnet.parallel.shares import own_count, own_part, own_rows
from bayeshnet.runs import Experiment, Listener, RunFolder, run_experiment
from tests.support.parallel_problems import NUM, PROBLEMS, build, by_hand, parameters, train
from tests.support.thread_processes import run_together


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", PROBLEMS)
def test_shared_data_is_one_process_with_the_whole_batch(name, size):
    options = {"steps": 3, "grad_clip": 0.7}
    wanted, history = train(name, torch.float64, **options)
    for values, own in run_together(size, "data", lambda group: train(name, torch.float64, **options)):
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-12)
        for part in ("loss", "nll", "kl"):
            torch.testing.assert_close(own[part], history[part], rtol=1e-10, atol=1e-12, equal_nan=True)


def test_parts_of_a_batch_may_differ_in_size():
    options = {"steps": 2, "batch_size": 7}
    wanted, history = train("livi", torch.float64, **options)
    for values, own in run_together(3, "data", lambda group: train("livi", torch.float64, **options)):
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(own["loss"], history["loss"], rtol=1e-10, atol=0)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", PROBLEMS)
def test_shared_samples_are_one_process_with_all_samples(name, size):
    wanted, nll = by_hand(name, torch.float64, size)
    for values, own in run_together(size, "samples", lambda group: train(name, torch.float64)):
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-10)
        assert own["nll"][0].item() == pytest.approx(nll, rel=1e-10)


def test_a_run_with_draws_of_its_own_is_resumed():
    def program(group, stops):
        model, guide, data = build("livi", torch.float64)
        state = None
        for steps in stops:
            generator = torch.Generator().manual_seed(1)
            result = fit(
                *(model, guide, data),
                num_steps=steps,
                batch_size=6,
                num_particles=4,
                num_samples=4,
                generator=generator,
                state=state,
                alarms=False,
            )
            state = result.state
        return parameters(guide)

    once = run_together(2, "samples", lambda group: program(group, [6]))
    twice = run_together(2, "samples", lambda group: program(group, [3, 6]))
    assert all(torch.equal(a, once[0]) for a in (*once, *twice))


def test_processes_begin_with_the_parameters_of_the_first_and_stop_together():
    def program(group):
        model, guide, data = build("closed", torch.float64)
        with torch.no_grad():
            for p in guide.parameters():
                p.add_(group.rank)
        result = fit(
            *(model, guide, data),
            num_steps=50,
            batch_size=8,
            lr=1e-9,
            early_stopping=EarlyStopping(patience=1, every=2, min_delta=1e3),
            generator=torch.Generator().manual_seed(1),
            alarms=False,
        )
        return parameters(guide), result.steps

    found = run_together(2, "data", program)
    assert found[0][1] == found[1][1] == 4
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][0].max() < 2


def test_noise_in_pre_activations_differs_between_processes():
    losses = run_together(2, "data", lambda group: _local(group))
    assert torch.equal(losses[0][0], losses[1][0])
    assert not torch.equal(losses[0][1], losses[1][1])


def _local(group):
    seen = []

    class Look:
        column, joins_batch, needs_weights = "extra", False, True

        def __call__(self, context):
            seen.append(context.weights.detach())
            return context.weights.sum() * 0

    values, _ = train("closed", torch.float64, steps=2, local_noise=True, losses=[Look()])
    return values, torch.cat(seen)


@pytest.mark.parametrize(
    ("share", "options", "says"),
    [
        ("data", {"batch_size": 1}, "batch_size: expected at least one example for each of the 2 processes, got 1"),
        ("samples", {"num_particles": 3}, "num_particles: expected a multiple of the 2 processes"),
        ("samples", {"num_samples": 3}, "num_samples: expected a multiple of the 2 processes"),
        ("samples", {"num_samples": None, "estimator": SSGE(5)}, "num_samples: expected a multiple of the 2"),
        ("samples", {"num_samples": 4}, "num_samples: expected an integer >= 3, got 2"),
    ],
)
def test_shares_that_cannot_be_are_refused(share, options, says):
    with pytest.raises(ValueError, match=says):
        run_together(2, share, lambda group: train("ssge", torch.float64, **options))


def test_a_generator_that_all_have_is_needed():
    def program(group):
        model, guide, data = build("closed", torch.float64)
        fit(model, guide, data, num_steps=1, batch_size=4)

    with pytest.raises(ValueError, match="generator: expected a generator that is seeded alike in all processes"):
        run_together(2, "data", program)


def test_a_process_that_ends_is_noticed_by_the_others():
    seen = []

    def program(group):
        if group.rank == 1:
            raise KeyError("mine")
        try:
            train("closed", torch.float64)
        except ProcessLostError:
            seen.append(group.rank)
            raise

    with pytest.raises(KeyError, match="mine"):
        run_together(2, "data", program)
    assert seen == [0]


def test_parts_cover_what_is_shared_out():
    for size, count in [(2, 5), (3, 10), (4, 4)]:
        bounds = run_together(size, "data", lambda group, count=count: own_part("batch_size", count))
        assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
        assert bounds[-1][1] == count
        assert max(b - a for a, b in bounds) - min(b - a for a, b in bounds) <= 1
    batch = ((torch.arange(5), torch.arange(5) + 10), torch.arange(5) + 20)
    parts = run_together(2, "data", lambda group: own_rows(batch))
    assert [weight for _, weight in parts] == [pytest.approx(4 / 5), pytest.approx(6 / 5)]
    assert torch.equal(torch.cat([part[0][1] for part, _ in parts]), batch[0][1])
    assert run_together(2, "data", lambda group: own_count("num_samples", 3)) == [3, 3]
    assert NUM % 4 == 0


@pytest.mark.parametrize("head", ["linear", "gaussian"])
def test_exact_heads_that_learn_parts_are_merged(head):
    stream = split_digits(data_seed=1)
    learner = ExactStream(RandomProjection(20), head=head)

    def program(group):
        state = learner.learn(None, stream[0], seed=1)
        return learner.learn(state, stream[1], seed=2)

    alone = program(None).state_dict()
    for size in (2, 3):
        for state in run_together(size, "data", program):
            found = state.state_dict()
            assert found.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


def test_losses_of_drawn_examples_are_those_of_the_whole_batch():
    """Pseudo-outliers are made for the whole batch, and each process evaluates its part, also of uneven parts."""
    outliers = NoiseOutliers(weight=0.5)

    def program(group):
        loss = OutlierExposure(outliers, torch.Generator().manual_seed(2))
        return train("livi", torch.float64, steps=2, batch_size=9, losses=[loss])[0]

    wanted = program(None)
    for values in run_together(2, "data", program):
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_others_follow_the_first_from_its_checkpoint(tmp_path):
    """A run that is stopped and goes on in two processes is that of one, and the first alone writes."""
    learner = Separate(MLPNetwork((3,)), MeanFieldWeights(), training=Training(steps=8, batch_size=6), num_samples=4)
    options = {"num_train": 6, "num_test": 4, "num_tasks": 2}
    experiment = Experiment(learner, data="modes2d", data_options=options, device="cpu")
    stream = experiment.stream().to(dtype=torch.float64)  # single precision is not the same for other orders of sums

    class Stop(Listener):
        def task_done(self, number, stream, record):
            raise KeyboardInterrupt

    whole = run_experiment(experiment, tmp_path / "one", stream=stream)
    with pytest.raises(KeyboardInterrupt):
        run_together(2, "data", lambda group: run_experiment(experiment, tmp_path / "two", Stop(), stream=stream))
    assert RunFolder(tmp_path / "two").last_task() == 1
    first, second = run_together(2, "data", lambda group: run_experiment(experiment, tmp_path / "two", stream=stream))
    assert first.result is not None
    assert (second.result, second.assessments) == (None, ())
    for run in (first, second):
        for name, value in whole.state.state_dict().items():
            torch.testing.assert_close(run.state.state_dict()[name], value, rtol=1e-8, atol=1e-8)
    assert first.assessments[1].given == pytest.approx(whole.assessments[1].given)
