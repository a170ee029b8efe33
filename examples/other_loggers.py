"""
MLflow and Weights & Biases
===========================

A run sends its numbers to any object with three methods: ``begin``, ``log`` and ``close``. These two send them to
MLflow and to Weights & Biases, which keep rows for good: what a run that goes on after a kill sends once more is left
out.
"""

import importlib
import tempfile

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Separate, Training
from bayeshnet.runs import Experiment, run_experiment


class MLflowLogger:
    """Numbers of a run for MLflow; ``mlflow`` is the package.

    A run that goes on is found by its name, and the steps that are known are those of its last row.
    """

    def __init__(self, mlflow, name):
        self.mlflow, self.name, self.known = mlflow, name, -1

    def begin(self, step, settings):
        found = self.mlflow.search_runs(filter_string=f"attributes.run_name = '{self.name}'", output_format="list")
        if found:
            self.mlflow.start_run(run_id=found[0].info.run_id)
            self.known = int(found[0].data.metrics.get("last_step", -1))
        else:
            self.mlflow.start_run(run_name=self.name)
            self.mlflow.log_params({name: text[:500] for name, text in settings.items()})

    def log(self, values, step):
        if step > self.known:
            self.mlflow.log_metrics({**values, "last_step": step}, step=step)

    def close(self):
        self.mlflow.end_run()


class WandbLogger:
    """Numbers of a run for Weights & Biases; ``wandb`` is the package. Without an account: ``mode="offline"``."""

    def __init__(self, wandb, name, mode=None):
        self.wandb, self.name, self.mode = wandb, name, mode

    def begin(self, step, settings):
        self.run = self.wandb.init(id=self.name, resume="allow", mode=self.mode, config=dict(settings))
        self.known = self.run.step - 1 if self.run.resumed else -1

    def log(self, values, step):
        if step > self.known:
            self.run.log(dict(values), step=step)

    def close(self):
        self.run.finish()


def main(steps=200):
    """Learn a small stream, and log to the packages that are installed."""
    loggers = []
    for package, logger, options in (("mlflow", MLflowLogger, {}), ("wandb", WandbLogger, {"mode": "offline"})):
        try:
            loggers.append(logger(importlib.import_module(package), "modes2d-separate", **options))
        except ImportError:
            print(f"no numbers for {package}, which is not installed: pip install {package}")
    learner = Separate(MLPNetwork((8,)), MeanFieldWeights(), training=Training(steps=steps), num_samples=20)
    with tempfile.TemporaryDirectory() as folder:
        trained = run_experiment(Experiment(learner, data="modes2d"), folder, loggers=loggers, log_every=50)
    print(f"accuracy {trained.assessments[-1].given}, sent to {len(loggers)} loggers")
    return loggers


if __name__ == "__main__":
    main()
