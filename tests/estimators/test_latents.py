"""Even latents: unbiased, orthogonal, and with less noise."""

import torch

from bayeshnet.estimators import LIVI
from bayeshnet.estimators.latent.livi import even_latents
from tests.support.oracles import DTYPE, LinearProblem, cosine, gradients, standard_prior


def sets(num, n, count=4000):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([even_latents(torch.zeros(n, dtype=DTYPE), num, generator) for _ in range(count)])


def test_means_over_them_are_unbiased():
    for num, n in ((6, 4), (3, 4), (5, 1), (1, 3)):
        z = sets(num, n)
        flat = z.reshape(-1, n)
        error = 5 / len(flat) ** 0.5
        torch.testing.assert_close(flat.mean(0), torch.zeros(n, dtype=DTYPE), atol=error, rtol=0)
        torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(n, dtype=DTYPE), atol=2 * error, rtol=0)
        quartic = z.square().sum(-1).square().mean()
        torch.testing.assert_close(quartic, torch.tensor(n * (n + 2.0), dtype=DTYPE), rtol=0.1, atol=0)
        odd = (z[..., 0].pow(3) * z[..., -1]).mean()
        assert n == 1 or abs(odd) < 0.1


def test_blocks_are_orthogonal():
    z = sets(7, 4, 1)[0]
    gram = z[:4] @ z[:4].T
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-10, rtol=0)


def test_value_and_gradient_have_less_noise():
    problem = LinearProblem.make(8, 300, 0.1)
    p = standard_prior(300)
    exact = gradients(problem.kl(p.loc, p.scale), [problem.A, problem.b])
    deviations, directions = [], []
    for orthogonal in (False, True):
        values, cosines = [], []
        for seed in range(25):
            estimate = LIVI(10, orthogonal=orthogonal).estimate(
                problem.q(), p, generator=torch.Generator().manual_seed(seed)
            )
            values.append(estimate.value)
            cosines.append(cosine(gradients(estimate.surrogate, [problem.A, problem.b]), exact))
        deviations.append(torch.stack(values).std())
        directions.append(sum(cosines) / len(cosines))
    assert deviations[1] < 0.6 * deviations[0]
    assert directions[1] > directions[0] + 0.05
