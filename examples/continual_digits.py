"""Digits, two at a time
========================

Continual learning of five tasks of two handwritten digits each, and inference of the task.

Run it with ``python examples/continual_digits.py``; it needs scikit-learn for the digits.
"""

import torch

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import OutputRegularizer, PatchOutliers, PosteriorReplay, Training
from bayeshnet.data import get_stream


def main(steps: int = 300) -> None:
    """Learn the stream and print the accuracy on each task, with the task given and inferred."""
    torch.set_num_threads(1)
    stream = get_stream("split-digits")
    learner = PosteriorReplay(
        MLPNetwork((32,), "gaussian"),  # the network whose weights are random
        ImplicitGenerator(latent_size=8, gain=3.0),  # one hypernetwork of latent and task for all posteriors
        regularizer=OutputRegularizer(strength=4e-3, max_tasks=2),  # of its outputs for two old tasks per step
        outliers=PatchOutliers(weight=0.1),  # outlier exposure on wrongly assembled images of the current task
        training=Training(steps=steps, batch_size=32, lr=4e-3, num_particles=4, beta=0.1),
    )
    state = None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
        print(f"learned {task.name}")

    for number, task in enumerate(stream):
        given = learner.predict(state, task.test.x, task_id=number)
        inferred = learner.predict(state, task.test.x)
        labels = torch.tensor(task.labels)[task.test.y]
        print(
            f"{task.name}: task given {(given.label == task.test.y).float().mean():.1%}, "
            f"inferred {(inferred.label() == labels).float().mean():.1%}, "
            f"inferred from the entropy alone {(inferred.label('entropy') == labels).float().mean():.1%}"
        )


if __name__ == "__main__":
    main()
