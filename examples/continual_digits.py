"""Five tasks of two handwritten digits each, learnt one after the other, then told apart: the main job as a script.

Run it with ``python examples/continual_digits.py``; it needs scikit-learn for the digits.
"""

import torch

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import OutputRegularizer, PatchOutliers, PosteriorReplay, Training
from bayeshnet.data import get_stream


def main(steps: int = 300) -> None:
    """Learn the stream and print how well each task is solved, told and untold."""
    torch.set_num_threads(1)
    stream = get_stream("split-digits")
    learner = PosteriorReplay(
        MLPNetwork((32,), "gaussian"),  # the network whose weights are random
        ImplicitGenerator(latent_size=8, gain=3.0),  # one generator of all posteriors, a task's embedding each
        regularizer=OutputRegularizer(strength=4e-3, max_tasks=2),  # holds what it generates for old tasks
        outliers=PatchOutliers(weight=0.1),  # teaches doubt, from the current task's images alone
        training=Training(steps=steps, batch_size=32, lr=4e-3, num_particles=4, beta=0.1),
    )
    state = None
    for number, task in enumerate(stream):
        state = learner.learn(state, task, seed=number)
        print(f"learnt {task.name}")

    for number, task in enumerate(stream):
        told = learner.predict(state, task.test.x, task_id=number)
        untold = learner.predict(state, task.test.x)
        labels = torch.tensor(task.labels)[task.test.y]
        print(
            f"{task.name}: told the task {(told.label == task.test.y).float().mean():.1%}, "
            f"untold {(untold.label() == labels).float().mean():.1%}, "
            f"by uncertainty alone {(untold.label('entropy') == labels).float().mean():.1%}"
        )


if __name__ == "__main__":
    main()
