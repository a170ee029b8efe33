"""
Hypernetworks in five minutes
=============================

A hypernetwork is a network whose outputs are the weights of another network, the *main
network*. Give it a vector, the *condition*, and it makes a set of weights; give it
another, and it makes other weights. One hypernetwork then holds many networks.
"""

# %%
# The main network
# ----------------
# Any module can be a main network. :class:`~bayeshnet.mnets.ModuleMainNet` makes its
# parameters an argument, and its ``weight_spec`` knows their names and shapes.

import matplotlib.pyplot as plt
import torch
from torch import nn

from bayeshnet import HMLP, ModuleMainNet, batched_forward

torch.manual_seed(0)
net = ModuleMainNet(nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)))
print(net.weight_spec.numel, "weights in", net.weight_spec.shapes)

# %%
# The hypernetwork
# ----------------
# :class:`~bayeshnet.hnets.HMLP` is a perceptron whose last layer has an output for each
# weight. This one has no random input (``uncond_in_size=0``) and an embedding of four
# numbers for each of three conditions, which are learned.

hnet = HMLP(
    net.weight_spec.shapes,
    uncond_in_size=0,
    cond_in_size=4,
    num_cond_embs=3,
    layers=(32,),
    verbose=False,
)
for name, tensor in zip(net.weight_spec.names, hnet(cond_id=1), strict=True):
    print(f"{name:10} {tuple(tensor.shape)}")

# %%
# Three functions in one hypernetwork
# -----------------------------------
# Gradients flow through the generated weights to the hypernetwork, so that it is
# trained like any other module. Here each condition learns a sine of its own frequency.
# :func:`~bayeshnet.functional.batched_forward` computes the main network under all
# three weight vectors at once.

x = torch.linspace(-2, 2, 100).unsqueeze(1)
targets = torch.stack([(frequency * x).sin() for frequency in (1.0, 2.0, 3.0)])
optimizer = torch.optim.Adam(hnet.parameters(), lr=1e-2)
for _ in range(800):
    weights = hnet(cond_id=[0, 1, 2], ret_format="flattened")  # (3, 49)
    loss = (batched_forward(net, weights, x) - targets).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"mean squared error {loss.item():.4f}")

# %%
# Between the conditions
# ----------------------
# Conditions are points in a space. Between two embeddings lie other networks.

with torch.no_grad():
    first, last = hnet.get_cond_in_emb(0), hnet.get_cond_in_emb(2)
    path = torch.stack([first + t * (last - first) for t in torch.linspace(0, 1, 9)])
    functions = batched_forward(net, hnet(cond_input=path, ret_format="flattened"), x)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for number in range(3):
    axes[0].plot(x, targets[number], color="0.8", linewidth=5)
    axes[0].plot(
        x,
        batched_forward(net, weights, x)[number].detach(),
        label=f"condition {number}",
    )
axes[0].legend()
axes[0].set_title("three conditions, and their targets (gray)")
for t, function in zip(torch.linspace(0, 1, 9), functions, strict=True):
    axes[1].plot(x, function, color=plt.get_cmap("viridis")(float(t)))
axes[1].set_title("on the way from condition 0 to condition 2")

# %%
# Where to go from here
# ---------------------
# If the condition is noise, the hypernetwork is a distribution over networks: the next
# tutorial makes it a posterior. The hypernetworks for large main networks, in chunks,
# by convolutions, or layer by layer, are in :doc:`/hypernetworks`.
