"""
Your own data and network
=========================

Any ``torch.nn.Module`` and any data set. Here a small residual network learns
scikit-learn's digits from a ``Dataset``, as one problem and as a stream of tasks.
"""

# %%
# A data set and a network
# ------------------------
# Nothing in either knows bayeshnet. Examples are read when they are needed.

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from bayeshnet import BayesianModel, ModuleMainNet, Predictive, fit
from bayeshnet.builders import MeanFieldWeights
from bayeshnet.data import load_digits, split_dataset
from bayeshnet.guides import Categorical, HypernetGuide
from bayeshnet.metrics import accuracy, ece, nll

torch.manual_seed(0)


class Digits(Dataset):
    """Images of 8 x 8 pixels with their labels."""

    def __init__(self) -> None:
        self.images, self.labels = load_digits()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.images[number].reshape(1, 8, 8), int(self.labels[number])


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.norm(self.first(x)).relu())


def make_net(classes: int) -> nn.Module:
    """Build a residual network."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.MaxPool2d(2),
        Block(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, classes),
    )


data = Digits()
order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
train, test = Subset(data, order[:1300]), Subset(data, order[1300:])

# %%
# Fitting
# -------
# A builder makes the posterior for any network. Independent Gaussian weights are the
# choice for a network of some thousand weights (:doc:`/results/near-exact`); another
# builder is another posterior, and the other lines stay as they are.

net = ModuleMainNet(make_net(10))
builder = MeanFieldWeights(sigma=0.05)
model = BayesianModel(net, builder.prior(net.weight_spec), Categorical())
guide = HypernetGuide(builder.build(net.weight_spec))
result = fit(
    model,
    guide,
    train,
    num_epochs=25,
    batch_size=64,
    lr=1e-2,
    scheduler="cosine",
    local_noise=True,
)
print(net.weight_spec.numel, "weights,", result.steps, "steps")

# %%
# Predictions
# -----------
x = torch.stack([image for image, _ in test])
y = torch.tensor([label for _, label in test])
predictive = Predictive(guide, net, model.likelihood, num_samples=30)
prediction = predictive(x)
for measure in (accuracy, nll, ece):
    print(f"{measure.__name__:9} {float(measure(prediction.mean, y)):.3f}")

# %%
# Nineteen of twenty labels are right, and the calibration error is large: after 1300
# images the posterior of so many weights doubts more than it should. The answer of
# temperature 1 to that is more images.
#
# The images of which the networks are least sure: ``epistemic`` is the information, in
# nats, that the weights have about the label.

least_sure = prediction.epistemic.topk(8).indices
figure, axes = plt.subplots(2, 8, figsize=(9, 2.8), height_ratios=(2, 1))
for (image, bars), number in zip(axes.T, least_sure, strict=True):
    image.imshow(x[number, 0], cmap="gray_r")
    image.set_title(f"is {y[number]}")
    image.axis("off")
    bars.bar(range(10), prediction.mean[number])
    bars.set_ylim(0, 1)
    bars.set_yticks([])
    bars.set_xticks(range(0, 10, 3))
figure.tight_layout()

# %%
# The same data as a stream
# -------------------------
# :func:`~bayeshnet.data.split_dataset` makes tasks of two classes each. Images stay in
# the data set and are read batch by batch (``in_memory=False``).

stream = split_dataset(train, test, classes_per_task=2, in_memory=False)
for task in stream:
    print(task.name, len(task.train), "to learn from,", len(task.test), "to test on")

# %%
# Any learner takes the stream: :doc:`/gallery/tutorials/plot_05_tasks`. On the command
# line, ``bayeshnet run --data folder --data-dir IMAGES`` does it for folders of images
# (:doc:`/continual-learning`).
