"""
A trained backbone with Bayesian last layers
============================================

A trained network need not be trained again. Its last layer becomes random, the others
stay as they are. That takes seconds, and this page measures what it gives.
"""

# %%
# A trained network
# -----------------
# A small convolutional network learns the digits 0 to 7 in the ordinary way. It never
# sees an 8 or a 9.

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet import BayesianModel, ModuleMainNet, Predictive, fit
from bayeshnet.builders import ImplicitGenerator
from bayeshnet.data import load_digits
from bayeshnet.guides import Categorical, HypernetGuide
from bayeshnet.metrics import accuracy, auroc, ece, entropy, nll

torch.manual_seed(0)
images, labels = load_digits()
images = images.reshape(-1, 1, 8, 8)
known = labels < 8
order = torch.randperm(int(known.sum()))
x, y = images[known][order[:400]], labels[known][order[:400]]
test_x, test_y = images[known][order[400:]], labels[known][order[400:]]
unknown_x = images[~known]

backbone = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 32),
    nn.ReLU(),
    nn.Linear(32, 8),
)
optimizer = torch.optim.Adam(backbone.parameters(), lr=3e-3)
for _ in range(30):
    for part in torch.randperm(len(x)).split(50):
        loss = nn.functional.cross_entropy(backbone(x[part]), y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
backbone.eval()

# %%
# Its last layer becomes random
# -----------------------------
# ``select`` names the parameters that get a posterior. All others are frozen, batch
# norm among them, and what they compute is computed once for all draws.

net = ModuleMainNet(backbone, select="7.*")
builder = ImplicitGenerator(latent_size=8, sigma="generated", last_gain=10.0)
model = BayesianModel(net, builder.prior(net.weight_spec), Categorical())
guide = HypernetGuide(builder.build(net.weight_spec))
fit(model, guide, (x, y), num_steps=500, lr=1e-2, scheduler="cosine", num_particles=4)
print(net.weight_spec.numel, "random weights:", ", ".join(net.weight_spec.names))

# %%
# Before and after
# ----------------
predictive = Predictive(guide, net, model.likelihood, num_samples=200)
bayesian = predictive(test_x).mean
with torch.no_grad():
    point = backbone(test_x).softmax(-1)
print(f"{'':10} one network  Bayesian last layer")
for measure in (accuracy, nll, ece):
    numbers = [float(measure(p, test_y)) for p in (point, bayesian)]
    print(f"{measure.__name__:10} {numbers[0]:11.3f} {numbers[1]:11.3f}")

# %%
# Digits that it has never seen
# -----------------------------
# The entropy of the prediction should be high for eights and nines. The area under the
# curve is the probability that an unknown digit has more entropy than a known one.


with torch.no_grad():
    point_unknown = backbone(unknown_x).softmax(-1)
pairs = {
    "one network": (entropy(point), entropy(point_unknown)),
    "Bayesian last layer": (entropy(bayesian), entropy(predictive(unknown_x).mean)),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for ax, (name, (inside, outside)) in zip(axes, pairs.items(), strict=True):
    for values, label in ((inside, "known digits"), (outside, "eights and nines")):
        ax.hist(values, bins=20, range=(0, 2), density=True, alpha=0.6, label=label)
    ax.set_title(f"{name}: AUROC {float(auroc(inside, outside)):.2f}")
    ax.set_xlabel("entropy [nats]")
axes[0].legend()

# %%
# The gain is small: accuracy and calibration stay what they were, and unknown digits
# are told apart hardly better. A last layer knows the uncertainty of a last layer only:
# an image that the frozen layers map near known ones stays certain. More layers are
# another pattern, such as ``select=["5.*", "7.*"]``. :doc:`/results/near-exact`
# compares the last layer with whole networks.
#
# Taking it elsewhere
# -------------------
# Each draw is an ordinary module.

networks = guide.posterior.sample_networks(net, 3)
print([tuple(network(test_x[:2]).shape) for network in networks])
