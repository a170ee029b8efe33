"""Weights for a module of your own
===================================

A hypernetwork for a module of one's own, in ten lines: one generator holds the weights for several tasks.

Run it with ``python examples/own_module.py``.
"""

import torch
from torch import nn

from bayeshnet.functional import batched_forward
from bayeshnet.hnets import HMLP
from bayeshnet.mnets import ModuleMainNet


def main(steps: int = 900) -> torch.Tensor:
    """Learn three functions with one module, whose weights are generated; return the mean squared error of each."""
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64).unsqueeze(-1)
    targets = torch.stack([torch.sin(3 * x), x.abs(), x**3])

    # The ten lines. Any module will do: it is copied, and its parameters become inputs.
    module = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    net = ModuleMainNet(module)
    hnet = HMLP(net.hyper_shapes_learned, cond_in_size=8, layers=(32,), num_cond_embs=3, verbose=False)
    hnet.apply_hyperfan_init(mnet=net)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=3e-3)
    for step in range(steps):
        loss = (net(x, weights=hnet(cond_id=step % 3)) - targets[step % 3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # All weight vectors at once, and the module under all of them at once.
    with torch.no_grad():
        weights = hnet(cond_id=[0, 1, 2], ret_format="flattened")
        errors = (batched_forward(net, weights, x) - targets).square().mean((1, 2))
    for name, error in zip(("sin 3x", "|x|", "x^3"), errors, strict=True):
        print(f"{name}: mean squared error {error:.5f}")

    # An ordinary module again, for one of the tasks.
    ready = net.to_module(weights[1])
    count = sum(p.numel() for p in ready.parameters())
    print(f"a plain module with {count} parameters: |{x[16, 0]:.2f}| = {ready(x[16])[0]:.3f}")
    return errors


if __name__ == "__main__":
    main()
