"""Assessments and the numbers at the end of a run, against loops over examples and scikit-learn."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import PosteriorReplay, StreamPrediction, Training
from bayeshnet.data import from_arrays, modes2d
from bayeshnet.distributions import Dirac, MeanFieldGaussian
from bayeshnet.guides import Categorical, HypernetGuide
from bayeshnet.inference import Prediction, Predictive
from bayeshnet.inference.run import PARTS, Run
from bayeshnet.metrics import joint_nll, median_distance, nll
from bayeshnet.runs.curves import Curves
from bayeshnet.runs.results.assessment import BATCH, assess
from bayeshnet.runs.results.drift import has_moved, posterior_drift
from bayeshnet.runs.results.final_numbers import final_numbers
from bayeshnet.runs.results.ood import measure_abstention, measure_detection, predict_all
from bayeshnet.runs.results.records import Assessment


class Known:
    """A learner that predicts what a table says: nothing is learnt, and every answer is known."""

    def __init__(self, kind="classification", names=range(100)):
        self.kind, self.names = kind, names

    def predict_each(self, state, x, tasks=None, *, seed=0):
        numbers = range(state.num_tasks) if tasks is None else tasks
        predictions = []
        for t in numbers:
            # The first input is the task, the second what tells the classes apart; sure where the task is right.
            sharp = 4.0 * torch.exp(-(x[:, 0] - t).square()) + 0.2
            if self.kind == "classification":
                mean = torch.stack([-sharp * x[:, 1], sharp * x[:, 1]], -1).softmax(-1)
                total = -(mean * mean.log()).sum(-1)
                variance = torch.zeros_like(mean)
            else:
                mean, total = sharp.unsqueeze(-1) * x[:, 1:], 1 / sharp
                variance = (0.5 * total).unsqueeze(-1)
            aleatoric = 0.5 * total
            predictions.append(Prediction(mean, total, aleatoric, total - aleatoric, variance, self.kind, 5))
        density = torch.stack([-(x[:, 0] - t).square() for t in numbers], -1)
        labels = (
            tuple((self.names[2 * t], self.names[2 * t + 1]) for t in numbers)
            if self.kind == "classification"
            else None
        )
        return StreamPrediction(tuple(predictions), density, torch.tensor(1.0), 0.5, labels)


class Learnt(nn.Module):
    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.densities = [Peak(t) for t in range(num_tasks)]


class Peak:
    """The density that the predictions of :class:`Known` have."""

    mean_noise = torch.tensor(1.0)

    def __init__(self, place):
        self.place = place

    def log_density(self, x, noise=None):
        return -(x[:, 0] - self.place).square()


def stream(kind="classification", num_tasks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def part(t, count):
        x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        x[:, 0] = t + 0.6 * x[:, 0]
        noisy = x[:, 1] + torch.randn(count, generator=generator, dtype=torch.float64)
        return x, (noisy > 0).long() if kind == "classification" else 4 * noisy[:, None]

    arrays = [(*part(t, 60), *part(t, 45)) for t in range(num_tasks)]
    ood = {"far": torch.full((30, 2), 1.0, dtype=torch.float64) * torch.linspace(4, 9, 30)[:, None].double()}
    return from_arrays(arrays, kind=kind, outliers=ood)


def test_an_assessment_of_classes_against_a_loop_over_examples():
    tasks, state, learner = stream(), Learnt(2), Known()
    record = assess(learner, state, tasks)
    for t in range(2):
        x, y = tasks[t].test.x, tasks[t].test.y
        prediction = learner.predict_each(state, x)
        means = prediction.means.numpy()
        right = found = both = 0
        for i, target in enumerate(y.tolist()):
            entropies = [-(means[i, s] * np.log(means[i, s])).sum() for s in range(2)]
            task = int(np.argmin(entropies))
            right += means[i, t].argmax() == target
            found += task == t
            both += task == t and means[i, task].argmax() == target
        assert record.given[t] == pytest.approx(right / len(y))
        assert record.inference["entropy"][t] == pytest.approx(found / len(y))
        assert record.inferred["entropy"][t] == pytest.approx(both / len(y))
        assert record.scores.nll[t] == pytest.approx(-np.log(means[np.arange(len(y)), t, y.numpy()]).mean())
        total = prediction.scores("density").numpy()
        batches = [total[b : b + BATCH].sum(0).argmax() == t for b in range(0, len(y) - BATCH + 1, BATCH)]
        assert record.inference_batch["density"][t] == pytest.approx(np.mean(batches))
    newest = learner.predict_each(state, tasks[2].test.x, [1]).predictions[0].mean
    assert record.ahead == pytest.approx(float((newest.argmax(-1) == tasks[2].test.y).double().mean()))
    assert assess(learner, Learnt(3), tasks).ahead is None


@pytest.mark.parametrize("names", [range(6), (-1, 12768682, 7, 3, 2119789, 5)])
def test_labels_are_judged_with_the_posterior_over_tasks(names):
    tasks, state, learner = stream(), Learnt(3), Known(names=names)
    found = assess(learner, state, tasks).scores.labels
    losses, right = [], []
    for t, task in enumerate(tasks):
        prediction = learner.predict_each(state, task.test.x)
        probs = (prediction.task_posterior().unsqueeze(-1) * prediction.means).flatten(1)
        label = 2 * t + task.test.y
        losses += (-probs.gather(1, label[:, None]).log()).flatten().tolist()
        right += (probs.argmax(1) == label).tolist()
    assert found["nll"] == pytest.approx(np.mean(losses))
    assert found["accuracy"] == pytest.approx(np.mean(right))


def test_an_assessment_of_values_against_scipy():
    from scipy.stats import norm

    tasks, state, learner = stream("regression"), Learnt(3), Known("regression")
    record = assess(learner, state, tasks)
    for t, task in enumerate(tasks):
        p = learner.predict_each(state, task.test.x).predictions[t]
        std, y = p.total.sqrt().numpy(), task.test.y[:, 0].numpy()
        mean = p.mean[:, 0].numpy()
        assert record.scores.log_likelihood[t] == pytest.approx(norm.logpdf(y, mean, std).mean())
        assert record.scores.coverage[t] == pytest.approx((np.abs(y - mean) <= norm.ppf(0.975) * std).mean())
        assert record.given[t] == pytest.approx(((y - mean) ** 2).mean())
        scores = np.stack(
            [
                norm.logpdf(y, q.mean[:, 0], q.total.sqrt())
                for q in learner.predict_each(state, task.test.x).predictions
            ],
            -1,
        )
        assert record.inference_targets[t] == pytest.approx((scores.argmax(1) == t).mean())


def assessments(records, kind):
    seconds = {"train": 1.0, "assess": 1.0}
    return [Assessment.from_dict({**r, "task": i, "kind": kind, "seconds": seconds}) for i, r in enumerate(records)]


def test_an_assessment_survives_json():
    for kind in ("classification", "regression"):
        tasks = stream(kind)
        record = assess(Known(kind), Learnt(2), tasks)
        assert Assessment.from_dict(json.loads(json.dumps(record.to_dict()))) == record
        last = assess(Known(kind), Learnt(3), tasks)
        assert Assessment.from_dict(json.loads(json.dumps(last.to_dict()))) == last
        assert "ahead" not in last.to_dict()


def test_summaries_of_a_run_worked_out_by_hand():
    base = {"inference_targets": [1.0], "nll": [0.1], "brier": [0.1], "ece": [0.01], "ece_all": 0.02}
    base["labels"] = {"nll": 0.3, "ece": 0.1}
    rows, ahead = ([0.9], [0.7, 0.8]), (0.6, None)
    records = [
        {**base, "given": row, "inferred": {"entropy": row}, "ahead": a} for row, a in zip(rows, ahead, strict=True)
    ]
    for record in records:
        record.update({key: record[key] * 2 for key in ("nll", "brier", "ece", "inference_targets")})
        record["inference"] = record["inference_batch"] = {"entropy": [0.5, 1.0]}
    final = final_numbers(assessments(records, "classification"), stream(num_tasks=2))
    assert final["during"] == pytest.approx(85)
    assert final["average"] == pytest.approx((90 + 75) / 2)
    assert final["backward_transfer"] == pytest.approx(-20)
    assert final["forward_transfer"] == pytest.approx(10)
    assert final["forgetting"] == final["forgetting_from_best"] == pytest.approx(20)
    assert final["forgetting_during"] == pytest.approx(10)
    assert "last_accuracy" not in final  # the accuracy of labels is not in these records
    assert final["task_inference"]["entropy"] == 75
    assert final["labels"] == {"nll": 0.3, "ece": pytest.approx(10)}
    for record, accuracy in zip(records, (0.8, 0.6), strict=True):
        record["labels"] = {"accuracy": accuracy, "nll": 0.3, "brier": 0.5, "ece": 0.1}
    final = final_numbers(assessments(records, "classification"), stream(num_tasks=2))
    assert (final["last_accuracy"], final["average_incremental_accuracy"]) == (pytest.approx(60), pytest.approx(70))
    assert [final[f"{name}_all_classes"] for name in ("nll", "brier", "ece")] == [0.3, 0.5, pytest.approx(10)]
    errors = [{**r, "log_likelihood": [0.5, 0.7], "coverage": [0.9, 1.0], "crps": [0.1, 0.3]} for r in records]
    tasks = stream("regression", num_tasks=2)
    final = final_numbers(assessments(errors, "regression"), tasks)
    assert final["rmse_task_given"] == pytest.approx(math.sqrt(0.75))
    assert final["mse_average"] == pytest.approx((0.9 + 0.75) / 2)
    assert final["backward_transfer"] == pytest.approx(0.9 - 0.7)  # of the negative error: it went down
    assert final["forward_transfer"] == pytest.approx(float(tasks[1].test.y.var(0, correction=0)) - 0.6)
    assert (final["coverage"], final["crps"]) == (pytest.approx(95), pytest.approx(0.2))


def test_ood_inputs_against_scikit_learn():
    tasks, state = stream(), Learnt(3)
    predictions = predict_all(Known(), state, tasks, 0)
    known, ood = (-p.scores("entropy").amax(-1) for p in (predictions.known, predictions.ood["far"]))
    truth = [0] * len(known) + [1] * len(ood)
    expected = roc_auc_score(truth, torch.cat([known, ood]))
    assert measure_detection(predictions).auroc["far"]["entropy"] == pytest.approx(100 * expected)
    refused = measure_abstention(predictions, false_alarm=0.1).to_dict()
    assert refused["calibrated_on"] == "training"
    assert refused["density"]["refused"]["far"] == 100
    assert 3 < refused["entropy"]["false_alarm"] < 15
    assert measure_abstention(predict_all(Known(), state, type(tasks)(tasks.tasks), 0)) is None


class Gaussians(nn.Module):
    """Posteriors of two tasks over three weights, under a prior of standard deviation 2; points unless ``wide``."""

    def __init__(self, shift, wide=True):
        super().__init__()
        self.wide = wide
        self.num_tasks = 2
        self.shift = nn.Parameter(torch.full((3,), shift, dtype=torch.float64))
        self.posterior = _Posterior(self)


class _Posterior:
    def __init__(self, owner):
        self.owner = [owner]

    def __call__(self, number):
        place = 2 * self.owner[0].shift.detach() + 1
        return MeanFieldGaussian(place, torch.ones(3, dtype=torch.float64)) if self.owner[0].wide else Dirac(place)

    def prior(self, like):
        return MeanFieldGaussian(torch.ones(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64))


class Saved:
    """A learner and its folder: the states after each task, in memory."""

    def __init__(self, *states):
        self.states = states

    def restore(self, task, num_tasks):
        return Gaussians(0.0, self.states[0].wide)

    def load_task(self, number, state):
        state.load_state_dict(self.states[number - 1].state_dict())

    def predict_each(self, state, x, tasks, seed):
        """Predict probabilities that move with the posterior."""
        probs = (0.5 + torch.tensor([1.0, -1.0], dtype=torch.float64) * state.shift[0].detach()).expand(len(x), 2)
        return SimpleNamespace(predictions=[SimpleNamespace(kind="classification", mean=probs)])


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_drift_is_the_discrepancy_of_whitened_posteriors_then_and_now(shift):
    tasks, saved = stream(num_tasks=2), Saved(Gaussians(0.0))
    found = posterior_drift(saved, Gaussians(shift), tasks, saved, 0, num_samples=800)
    # Whitened, the two are N(0, 1/4 I) and N(shift, 1/4 I) in three dimensions.
    generator = torch.Generator().manual_seed(1)
    draws = 0.5 * torch.randn(2, 800, 3, generator=generator, dtype=torch.float64)
    width = float(median_distance(*draws)) ** 2
    same = (width / (width + 0.5)) ** 1.5
    expected = 2 * same * (1 - math.exp(-3 * shift**2 / (2 * (width + 0.5))))
    assert [record.mmd for record in found] == [pytest.approx(expected, abs=0.015)]
    # Both are Gaussian with standard deviation 1: KL = |difference|^2 / 2, and the predictions move by the shift.
    assert found[0].kl == pytest.approx(3 * (2 * shift) ** 2 / 2)
    assert found[0].predictions == pytest.approx(shift)
    assert has_moved(found[0]) == (shift > 0)
    assert expected == 0 or expected > 0.2


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_drift_of_points_depends_on_how_far_they_moved(shift):
    tasks, saved = stream(num_tasks=2), Saved(Gaussians(0.0, False))
    found = posterior_drift(saved, Gaussians(shift, False), tasks, saved, 0)
    assert found[0].mmd == pytest.approx(2 * (1 - math.exp(-(shift**2) / (4 * 0.1**2))))
    assert found[0].kl is None
    assert found[0].accuracy is None


def test_curves_are_means_over_blocks_of_steps():
    run = Run(None, None, 10, None, first_step=5)
    for step in range(10):
        values = torch.full((len(PARTS),), torch.nan)
        values[PARTS.index("nll")] = float(step)
        run.record(values)
    curves = Curves(max_blocks=5)
    curves.on_end(run)
    assert curves.record == {"step": [7.0, 9.0, 11.0, 13.0, 15.0], "nll": [0.5, 2.5, 4.5, 6.5, 8.5]}


def test_ten_labels_together_after_the_last_task_only():
    """A learner without draws: ten times the NLL of a label, over all of the few test examples."""
    tasks = stream("classification")
    assert assess(Known(), Learnt(2), tasks).scores.joint_nll == ()
    scores = assess(Known(), Learnt(3), tasks).scores
    for number, (task, joint) in enumerate(zip(tasks, scores.joint_nll, strict=True)):
        assert len(task.test) <= 45  # all pairs are taken
        mean = Known().predict_each(Learnt(3), task.test.x).predictions[number].mean
        assert joint == pytest.approx(10 * -float(mean.gather(1, task.test.y[:, None]).log().mean()), rel=1e-5)


def test_ten_labels_together_use_the_draws_of_a_posterior():
    """Draws that disagree about the whole input are better together than one by one."""
    tasks = modes2d(num_train=20, num_test=20)[:1]
    posterior = ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,))
    learner = PosteriorReplay(MLPNetwork((4,)), posterior, num_samples=7, training=Training(steps=2))
    state = learner.learn(None, tasks[0])
    (joint,) = assess(learner, state, tasks, seed=3).scores.joint_nll
    test = tasks[0].test
    predictive = Predictive(HypernetGuide(state.posterior).condition(0), state.net, Categorical(), num_samples=7)
    generator = torch.Generator().manual_seed(3)
    samples = predictive(test.x, generator=generator, keep_samples=True).samples
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(3))
    assert joint == pytest.approx(float(joint_nll(samples[:, order], test.y[order])), rel=1e-5)
    assert joint < 10 * float(nll(samples.mean(0), test.y)) - 1e-3
