"""Four estimates of one KL
===========================

Is my KL right? Four estimates of one hypernetwork posterior's KL, their audit, and a posterior that fools LIVI.

Run it with ``python examples/is_my_kl_right.py``; with the extra ``app`` it draws ``diagnosis.png`` too.
"""

import importlib.util

import torch
from torch import nn

from bayeshnet import WeightSpec, diagnose
from bayeshnet.distributions import FanInGaussian, HypernetPosterior, SemiImplicit
from bayeshnet.estimators import LIVI, SIVI, SSGE, ImportanceSandwich
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP


def main(num_samples: int = 64) -> None:
    """Estimate, audit and diagnose, then do the same for a map that folds."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1))
    spec = WeightSpec.of(net)
    hnet = HMLP(spec.shapes, uncond_in_size=4, cond_in_size=0, layers=(20,), activation_fn=nn.Tanh(), verbose=False)
    with torch.no_grad():
        for parameter in hnet.parameters():  # as if trained: a map that moves the weights by more than its noise
            parameter.mul_(4)
    q = HypernetPosterior(hnet, scale="fan_in", weight_spec=spec)
    p = FanInGaussian(spec)

    print("The same KL by methods with different guarantees:")
    for method in (LIVI(num_samples), SIVI(num_samples), ImportanceSandwich(num_samples), SSGE(num_samples)):
        found = method.estimate(q, p)
        if found.value is None:
            print(f"  {type(method).__name__:18} no value: {found.diagnostics['why_no_value']}")
            continue
        sides = [f"{found.lower:.2f}" if found.lower is not None else "?"]
        sides += [f"{found.upper:.2f}" if found.upper is not None else "?"]
        print(f"  {type(method).__name__:18} {found.value:8.2f} nats, between {' and '.join(sides)}")

    # The audit: only the mutual information between weights and latent is intractable, and on the same draws the
    # importance-sampling sandwich encloses it.
    draw = q.draw(num_samples)
    audit = ImportanceSandwich().mutual_information(q, draw)
    print(
        f"\nOn {num_samples} draws: audit {audit.lower:.3f} to {audit.upper:.3f} nats of information, "
        f"LIVI {LIVI().mutual_information(q, draw).value:.3f}"
    )

    report = diagnose(q, p, num_samples)
    print(f"\n{report}")
    if importlib.util.find_spec("matplotlib"):
        report.figure().savefig("diagnosis.png", dpi=100)

    # Two latents, z and -z, give the same weights: LIVI counts them twice and its KL is up to log 2 too low.
    direction = torch.linspace(-1, 1, spec.numel)
    fold = SemiImplicit(JacobianGeometry(lambda z: z**2 * direction, 1, spec.numel, like=direction), 0.05)
    print(f"\nA map that folds:\n{diagnose(fold, p, num_samples)}")


if __name__ == "__main__":
    main()
