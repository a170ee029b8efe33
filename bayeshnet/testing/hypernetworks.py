"""The contract of hypernetworks: a subclass lists functions that build one, and inherits all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..geometry import Geometry, HeadGeometry, JacobianGeometry
from ..hnets import HMLP
from .hypernetwork_modules import HypernetworkModules
from .suite import Build

__all__ = ["HypernetworkContract"]

Case = tuple[Tensor, Tensor, Tensor, Tensor]
Cases = tuple[Tensor, Tensor, Tensor, Tensor, tuple[Any, ...]]


class HypernetworkContract(HypernetworkModules):
    """All that a hypernetwork must do, as tests: formats, conditions, parameters, copies, growth and the geometry.

    A subclass whose name begins with ``Test`` sets ``variants``, functions without arguments that build small
    hypernetworks, by name. Those whose parameters are passed in, some or all, are in ``external``. Values and gradients
    of the geometry are compared with Jacobians by automatic differentiation, in double precision.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> class TestMine(HypernetworkContract):
        ...     variants = {"small": lambda: HMLP([[2, 3], [2]], 2, 3, [4], num_cond_embs=2, verbose=False)}
        >>> TestMine().test_formats(TestMine.variants["small"])
    """

    # Geometry.

    def oracle(self, net: Any, weights: Any = None) -> tuple[Callable[[Tensor], Tensor], JacobianGeometry]:
        """Return the map itself, and its geometry by automatic differentiation."""
        where = self.one(net)

        def fn(z: Tensor) -> Tensor:
            return self.flat(net, uncond_input=z, weights=weights, **where)

        return fn, JacobianGeometry(fn, net.uncond_in_size, net.num_outputs, like=torch.empty(0, dtype=torch.float64))

    def geometry_cases(self, net: Any) -> Cases:
        """Return two batches of latents, vectors, a center, and precisions."""
        P, n = net.num_outputs, net.uncond_in_size
        z, other = (torch.randn(2, n, dtype=torch.float64) for _ in range(2))
        v, center = torch.randn(2, P, dtype=torch.float64), torch.randn(P, dtype=torch.float64)
        precisions = (2.0, torch.tensor(0.5, dtype=torch.float64), torch.rand(P, dtype=torch.float64))
        return z, other, v, center, precisions

    def test_geometry_values(self, build: Build) -> None:
        net = self.make(build)
        if not net.uncond_in_size:
            with pytest.raises(ValueError, match="uncond_in_size: expected a hypernetwork with an unconditional input"):
                net.geometry(**self.one(net))
            return
        g, (fn, _) = net.geometry(**self.one(net)), self.oracle(net)
        z, other, v, center, precisions = self.geometry_cases(net)
        J = torch.stack([torch.autograd.functional.jacobian(lambda x: fn(x[None])[0], row) for row in z])
        close: Any = {"rtol": 1e-8, "atol": 1e-10}
        torch.testing.assert_close(g(z), fn(z), **close)
        for precision in precisions:
            diag = torch.as_tensor(precision, dtype=torch.float64).expand(net.num_outputs)
            weighted = J.mT @ (diag.unsqueeze(-1) * J)
            torch.testing.assert_close(g.gram(z, precision), weighted, **close)
            torch.testing.assert_close(net.gram(z, precision, **self.one(net)), weighted, **close)
            for c in (None, center, v):
                delta = fn(z) if c is None else fn(z) - c
                torch.testing.assert_close(g.sqdist(z, c, precision), (delta**2 * diag).sum(-1), **close)
            apart = ((fn(z) - fn(other)) ** 2 * diag).sum(-1)
            torch.testing.assert_close(g.sqdist_between(z, other, precision), apart, **close)
            if isinstance(g, HeadGeometry):
                ratio = -((fn(other) - fn(z)) * v).sum(-1) - 0.5 * apart
                torch.testing.assert_close(g.log_ratio_from(other, v, precision)(z), ratio, **close)
        torch.testing.assert_close(g.inner(z, v), (fn(z) * v).sum(-1), **close)
        torch.testing.assert_close(g.inner_between(z, other, v), ((fn(z) - fn(other)) * v).sum(-1), **close)
        torch.testing.assert_close(g.against(v)(z, other), ((fn(z) - fn(other)) * v).sum(-1), **close)
        torch.testing.assert_close(g.vjp(z, v), (J.mT @ v.unsqueeze(-1)).squeeze(-1), **close)
        torch.testing.assert_close(g.jvp(z, other), (J @ other.unsqueeze(-1)).squeeze(-1), **close)
        torch.testing.assert_close(g.rows(z), J, **close)
        index = torch.tensor([net.num_outputs - 1, 0, net.num_outputs // 2])
        torch.testing.assert_close(g.rows(z, index), J[:, index], **close)
        assert g.zero_latent().shape == (net.uncond_in_size,)
        assert g.zero_latent().dtype == torch.float64
        if g.is_affine:
            matrix, offset = g.affine()
            torch.testing.assert_close(z @ matrix.mT + offset, fn(z), **close)

    @staticmethod
    def total(g: Geometry, case: Case, precision: Any) -> Tensor:
        """Compute a number that depends on every method of a geometry."""
        z, other, v, center = case
        eye = torch.eye(z.shape[-1], dtype=z.dtype)
        uneven = torch.arange(1.0, 1.0 + eye.numel(), dtype=z.dtype).view_as(eye)
        index = torch.tensor([0, g.num_weights - 1])
        gram = g.gram(z, precision)
        if isinstance(g, HeadGeometry):
            ratio = g.log_ratio_from(other, v, precision)(z)
        else:
            ratio = -g.inner_between(other, z, v) - 0.5 * g.sqdist_between(other, z, precision)
        return ratio.sin().sum() + (
            torch.logdet(eye + gram).sum()
            + (uneven * gram).sum()
            + g.sqdist(z, None, precision).sum()
            + g.sqdist(z, center, precision).pow(2).mean()
            + g.sqdist(z, v, precision).mean()
            + g.sqdist_between(z, other, precision).sum()
            + g.inner(z, v).sin().sum()
            + g.inner_between(z, other, v).cos().sum()
            + g.vjp(z, v).pow(2).sum()
            + g.jvp(z, other).pow(3).mean()
            + g.rows(z, index).pow(2).sum()
            + g(z).mean()
        )

    def test_geometry_gradients(self, build: Build) -> None:
        """Gradients with respect to parameters, latents, center, vectors and precision, with weights passed in."""
        net = self.make(build)
        if not net.uncond_in_size:
            pytest.skip("no latent")
        weights = [p.detach().clone().requires_grad_() for p in net.internal_params]
        z, other, v, center, precisions = self.geometry_cases(net)
        for precision in precisions:
            leaves = [t.requires_grad_() for t in (z, other, v, center, precision) if isinstance(t, torch.Tensor)]
            g, (_, oracle) = net.geometry(weights=weights, **self.one(net)), self.oracle(net, weights)
            totals = [self.total(x, (z, other, v, center), precision) for x in (g, oracle)]
            got, want = (torch.autograd.grad(x, [*weights, *leaves], allow_unused=True) for x in totals)
            for a, b in zip(got, want, strict=True):
                assert (a is None or a.abs().max() == 0) if b is None else (a - b).abs().max() <= 1e-6 * b.abs().max()

    def test_geometry_wants_one_condition(self, build: Build) -> None:
        net = self.make(build)
        if not (net.uncond_in_size and net.num_known_conds > 1):
            pytest.skip("no latent or fewer than two conditions")
        with pytest.raises(ValueError, match="cond_id: expected one condition"):
            net.geometry(cond_id=[0, 1])

    def test_geometry_refuses_noise(self, build: Build) -> None:
        net = self.make(build).train()
        noisy = any(isinstance(m, nn.Dropout) and m.p > 0 for m in net.modules()) or net.batchnorm_layers is not None
        if not net.uncond_in_size:
            pytest.skip("no latent")
        if noisy:
            with pytest.raises(ValueError, match=r"geometry: expected a hypernetwork that maps .* Call eval\(\) first"):
                net.geometry(**self.one(net))
        else:
            net.geometry(**self.one(net))

    # Parameters that are passed in.

    def test_external_parameters(self, build_external: Build) -> None:
        net = build_external().double().eval()
        learned = net.hyper_shapes_learned
        assert learned
        values = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in learned]
        kwargs = self.inputs(net)
        with pytest.raises(ValueError, match=r"weights|cond_id"):
            net(**kwargs)
        out = self.flat(net, weights=values, **kwargs)
        by_name = dict(zip(net.weight_spec.names, values, strict=True))
        assert torch.equal(self.flat(net, weights=by_name, **kwargs), out)
        live = iter(net.internal_params or [])
        merged = [
            values[net.hyper_shapes_learned_ref.index(i)] if i in net.hyper_shapes_learned_ref else next(live)
            for i in range(len(net.param_shapes))
        ]
        assert torch.equal(self.flat(net, weights=merged, **kwargs), out)
        grads = torch.autograd.grad(out.pow(2).sum(), values, allow_unused=True)
        ids = kwargs.get("cond_id", [])
        used = [r for r in net._ledger.learned if not r.conditional or int(r.group[4:]) in ids]
        assert sum(g is not None for g in grads) == len(used)
        # Another hypernetwork generates them: the gradient of its bias is that of its outputs.
        outer = HMLP(learned, 0, 2, layers=[], verbose=False).double()
        made = outer(cond_input=torch.ones(1, 2, dtype=torch.float64))
        (got,) = torch.autograd.grad(self.flat(net, weights=made, **kwargs).sin().sum(), outer.params["layer1_bias"])
        leaves = [t.detach().requires_grad_() for t in made]
        out = self.flat(net, weights=leaves, **kwargs).sin().sum()
        grads = torch.autograd.grad(out, leaves, materialize_grads=True)
        torch.testing.assert_close(got, torch.cat([g.flatten() for g in grads]))
        if net.uncond_in_size:
            g, (_, oracle) = net.geometry(weights=values, **self.one(net)), self.oracle(net, values)
            z = torch.randn(2, net.uncond_in_size, dtype=torch.float64)
            torch.testing.assert_close(g.gram(z), oracle.gram(z), rtol=1e-8, atol=1e-10)
