"""The model of the latent given the weights, with its coupling layers written out."""

import pytest
import torch
from torch.distributions import Normal

from bayeshnet.estimators.latent.reverse_model import ReverseModel
from tests.support.oracles import DTYPE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n", "flows"), [(2, 3), (3, 1), (3, 4), (4, 5)])
def test_the_reverse_model_by_hand(n, flows):
    """Layer ``i`` moves every second latent, odd ones first, by what the others and the weights say."""
    samples = 0.5 + 2 * torch.randn(20, 5, dtype=DTYPE, generator=generator())
    model = ReverseModel(samples, n, (8,), flows, generator())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, dtype=DTYPE, generator=generator(1)))
    w, noise = samples[0], torch.randn(n, dtype=DTYPE, generator=generator(2))
    x = (w - samples.mean(0)) / samples.std(0)
    features = model.features(x).tanh()
    head = model.head(features)
    factor = torch.diag(head[n : 2 * n].exp())
    factor[[i for i in range(n) for _ in range(i)], [j for i in range(n) for j in range(i)]] = head[2 * n :]
    mean = head[:n] + model.direct(x)

    def transform(eps):
        z = mean + torch.linalg.solve(factor.T, eps)
        for i, flow in enumerate(model.flows):
            still = torch.tensor([float(j % 2 == i % 2) for j in range(n)], dtype=DTYPE)
            shift, log_scale = flow(torch.cat([z * still, features])).split(n)
            z = torch.where(still.bool(), z, z * log_scale.tanh().exp() + shift)
        return z

    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(transform, noise))[1]
    expected = Normal(0.0, 1.0).log_prob(noise).sum() - log_det
    view = model.view(w[None])
    torch.testing.assert_close(view.log_prob(transform(noise)[None, None]), expected[None, None])
    z, log_prob = view.rsample(1, generator(2))
    torch.testing.assert_close(z[0, 0], transform(noise))
    torch.testing.assert_close(log_prob[0, 0], expected)
