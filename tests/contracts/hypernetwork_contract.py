"""The contract of hypernetworks: a subclass lists functions that build a hypernetwork, and inherits all tests."""

import copy
import pickle
from typing import ClassVar

import pytest
import torch
from torch import nn

from bayeshnet import speed
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP, get_conditional_parameters
from bayeshnet.layers import SpectralNorm

BATCH = 3


def scatter(net):
    """Convert ``net`` to double precision, with random parameters and statistics that break all symmetries."""
    net = net.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for norm in net.batchnorm_layers or ():
            mean, var = norm.get_stats()
            mean.copy_(torch.randn(mean.shape, generator=generator, dtype=mean.dtype))
            var.copy_(0.5 + torch.rand(var.shape, generator=generator, dtype=var.dtype))
    return net


class HypernetworkContract:
    """Subclasses set ``variants``: names and functions that build a hypernetwork whose tensors are all parameters."""

    variants: ClassVar = {}
    external: ClassVar = {}
    """The same classes, some of whose tensors are passed in."""
    takes_both = False
    """True if a condition and a conditional input may be passed together."""

    def pytest_generate_tests(self, metafunc):
        for name, table in (("build", self.variants), ("build_external", self.external)):
            if name in metafunc.fixturenames:
                once = metafunc.function.__name__ in ("test_compiles_as_one_graph",)
                marks = [[pytest.mark.slow] if once and i else [] for i in range(len(table))]
                cases = [pytest.param(b, id=k, marks=m) for (k, b), m in zip(table.items(), marks, strict=True)]
                metafunc.parametrize(name, cases)

    @pytest.fixture(autouse=True)
    def _no_weights_are_built(self):
        """Use the algorithms for long weight vectors."""
        with speed.using(short_weights=0):
            yield

    @classmethod
    def make(cls, build):
        torch.manual_seed(0)
        net = scatter(build())
        if any(isinstance(m, SpectralNorm) for m in net.modules()):
            for _ in range(30):  # the estimates of the norms converge
                net.train()(**cls.inputs(net))
        return net.eval()

    @staticmethod
    def inputs(net, batch=BATCH, ids=None):
        """Arguments for a forward pass of ``batch`` samples."""
        kwargs = {}
        if net.uncond_in_size:
            kwargs["uncond_input"] = torch.randn(batch, net.uncond_in_size, dtype=torch.float64)
        if net.num_known_conds:
            kwargs["cond_id"] = [i % net.num_known_conds for i in range(batch)] if ids is None else ids
        elif getattr(net, "cond_in_size", 0):
            kwargs["cond_input"] = torch.randn(batch, net.cond_in_size, dtype=torch.float64)
        return kwargs

    @staticmethod
    def one(net):
        """Arguments that select the condition of the geometry."""
        if net.num_known_conds:
            return {"cond_id": net.num_known_conds - 1}
        if getattr(net, "cond_in_size", 0):
            return {"cond_input": torch.linspace(-1, 1, net.cond_in_size, dtype=torch.float64).unsqueeze(0)}
        return {}

    def flat(self, net, **kwargs):
        return net(ret_format="flattened", **kwargs)

    # Outputs and formats.

    def test_formats(self, build):
        net = self.make(build)
        for batch in (1, BATCH):
            kwargs = self.inputs(net, batch)
            made = {f: net(ret_format=f, **kwargs) for f in ("flattened", "sequential", "squeezed")}
            assert made["flattened"].shape == (batch, net.num_outputs)
            assert len(made["sequential"]) == batch
            for sample in made["sequential"]:
                assert [list(t.shape) for t in sample] == net.target_shapes
            squeezed = [made["squeezed"]] if batch == 1 else made["squeezed"]
            for source, target in zip(made["sequential"], squeezed, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(source, target, strict=True))
            for source in made:
                for target in made:
                    got = net.convert_out_format(made[source], source, target)
                    again = net.convert_out_format(got, target, "flattened")
                    assert torch.equal(again, made["flattened"])
                    assert type(got) is type(made[target])
                    assert len(got) == len(made[target])

    def test_default_format_is_squeezed(self, build):
        net = self.make(build)
        assert [list(t.shape) for t in net(**self.inputs(net, 1))] == net.target_shapes

    def test_unknown_format(self, build):
        net = self.make(build)
        with pytest.raises(ValueError, match=r"ret_format: expected one of .*'flattened'.*, got 'flat'"):
            net(ret_format="flat", **self.inputs(net))

    def test_samples_do_not_mix(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        together = self.flat(net, **kwargs)
        for i in range(BATCH):
            alone = {k: v[i : i + 1] for k, v in kwargs.items()}
            assert torch.allclose(self.flat(net, **alone)[0], together[i], rtol=1e-10)

    def test_conditions_by_id_list_tensor(self, build):
        net = self.make(build)
        if not net.num_known_conds:
            pytest.skip("no conditions")
        last = net.num_known_conds - 1
        kwargs = self.inputs(net, 1)
        results = [self.flat(net, **{**kwargs, "cond_id": i}) for i in (last, [last], (last,), torch.tensor(last))]
        results.append(self.flat(net, **{**kwargs, "cond_id": torch.tensor([last])}))
        assert all(torch.equal(r, results[0]) for r in results)
        if last:
            assert not torch.allclose(self.flat(net, **{**kwargs, "cond_id": 0}), results[0])

    def test_batches_of_one_are_repeated(self, build):
        net = self.make(build)
        if not (net.uncond_in_size and net.num_known_conds):
            pytest.skip("only one input")
        z = torch.randn(BATCH, net.uncond_in_size, dtype=torch.float64)
        full = self.flat(net, uncond_input=z, cond_id=[0] * BATCH)
        assert torch.allclose(self.flat(net, uncond_input=z, cond_id=0), full, rtol=1e-10)
        ids = [i % net.num_known_conds for i in range(BATCH)]
        full = self.flat(net, uncond_input=z[:1].expand(BATCH, -1), cond_id=ids)
        assert torch.allclose(self.flat(net, uncond_input=z[:1], cond_id=ids), full, rtol=1e-10)
        with pytest.raises(ValueError, match="expected one batch size"):
            self.flat(net, uncond_input=z, cond_id=[0, 0])

    def test_conditions_differ_only_by_their_own_tensors(self, build):
        net = self.make(build)
        if net.num_known_conds < 2 or net.conditional_params is None:
            pytest.skip("fewer than two conditions")
        kwargs = self.inputs(net, 1, ids=0)
        grads = torch.autograd.grad(self.flat(net, **kwargs).sum(), net.conditional_params, allow_unused=True)
        groups = [r.group for r in net._ledger.conditional if r.home is not None]
        assert {g for g, d in zip(groups, grads, strict=True) if d is not None} == {"cond0"}

    # Parameters.

    def test_gradients_reach_every_parameter(self, build):
        net = self.make(build)
        kwargs = self.inputs(net, max(BATCH, net.num_known_conds))
        out = self.flat(net, **kwargs)
        (out * torch.randn_like(out)).sum().backward()
        for name, p in net.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name

    def test_lists_of_the_interface_agree(self, build):
        net = self.make(build)
        shapes, meta = net.param_shapes, net.param_shapes_meta
        assert len(shapes) == len(meta)
        assert sorted(net.unconditional_param_shapes_ref + net.conditional_param_shapes_ref) == list(range(len(shapes)))
        assert [shapes[i] for i in net.unconditional_param_shapes_ref] == net.unconditional_param_shapes
        assert [shapes[i] for i in net.conditional_param_shapes_ref] == net.conditional_param_shapes
        for i, entry in enumerate(meta):
            assert set(entry) >= {"name", "index", "layer"}
            if entry["index"] != -1:
                assert list(net.internal_params[entry["index"]].shape) == shapes[i]
        for i, p in zip(net.unconditional_params_ref or [], net.unconditional_params or [], strict=True):
            assert net.internal_params[i] is p
        kept = len(net.unconditional_params or []) + len(net.conditional_params or [])
        assert kept == len(net.internal_params) == len(shapes)
        assert {id(p) for p in net.internal_params} == {id(p) for p in net.parameters()}
        assert net.hyper_shapes_learned is None
        assert net.weight_spec.numel == net.num_params == net.num_internal_params

    def test_weights_from_outside(self, build):
        net, other = self.make(build), self.make(build)
        values = [torch.randn_like(p) for p in net.internal_params]
        other.overwrite_internal_params(values)
        kwargs = self.inputs(net)
        expected = self.flat(other, **kwargs)
        uncond = [v for v, r in zip(values, net._ledger.records, strict=True) if not r.conditional]
        cond = [v for v, r in zip(values, net._ledger.records, strict=True) if r.conditional]
        ways = [values, dict(zip(net.weight_spec.names, values, strict=True))]
        ways.append({"uncond_weights": uncond, "cond_weights": cond} if cond else {"uncond_weights": uncond})
        ways.append(net.weight_spec.split(net.weight_spec.flatten(values)))
        for way in ways:
            given = copy.copy(way)
            torch.testing.assert_close(self.flat(net, weights=way, **kwargs), expected, rtol=1e-10, atol=1e-12)
            assert set(given) == set(way) if isinstance(way, dict) else len(given) == len(way)
        mine = self.flat(net, **kwargs)
        if cond:
            other.overwrite_internal_params(
                [
                    v if r.conditional else p
                    for v, r, p in zip(values, net._ledger.records, net.internal_params, strict=True)
                ]
            )
            assert torch.equal(self.flat(net, weights={"cond_weights": cond}, **kwargs), self.flat(other, **kwargs))
        assert torch.equal(self.flat(net, **kwargs), mine)

    def test_gradients_reach_weights_from_outside(self, build):
        net = self.make(build)
        values = [p.detach().clone().requires_grad_() for p in net.internal_params]
        out = self.flat(net, weights=values, **self.inputs(net, max(BATCH, net.num_known_conds)))
        grads = torch.autograd.grad((out * torch.randn_like(out)).sum(), values)
        assert all(g.abs().sum() > 0 for g in grads)

    def test_wrong_weights(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        values = list(net.internal_params)
        with pytest.raises(ValueError, match=r"weights: expected \d+ tensors, got \d+"):
            net(weights=values[:-1], **kwargs)
        with pytest.raises(ValueError, match=r"weights.*expected a tensor of shape"):
            net(weights=[*values[:-1], values[-1].unsqueeze(0)], **kwargs)
        with pytest.raises(TypeError, match="weights: expected a list or dict of tensors"):
            net(weights=3, **kwargs)
        with pytest.raises(ValueError, match=r"weights: expected a dict with keys .*uncond_weights"):
            net(weights={"theta": values}, **kwargs)
        with pytest.raises(ValueError, match=r"weights\['uncond_weights'\]: expected \d+ tensors"):
            net(weights={"uncond_weights": values * 2}, **kwargs)

    # Bad inputs.

    def test_wrong_conditions(self, build):
        net = self.make(build)
        kwargs = {k: v for k, v in self.inputs(net).items() if k != "cond_id"}
        with pytest.raises(ValueError, match=r"cond_id: expected condition identifiers|cond_id: expected None"):
            net(**{k: v for k, v in kwargs.items() if k != "cond_input"}, cond_id=net.num_known_conds + 2)
        if net.num_known_conds:
            for bad in (-1, [0, net.num_known_conds], torch.tensor([net.num_known_conds])):
                with pytest.raises(ValueError, match="cond_id: expected condition identifiers between 0 and"):
                    net(**kwargs, cond_id=bad)
            for bad in ("a", 1.5, [0.5], torch.tensor([0.5]), True):
                with pytest.raises(TypeError, match="cond_id: expected an integer"):
                    net(**kwargs, cond_id=bad)
            with pytest.raises(ValueError, match="cond_id: expected at least one condition"):
                net(**kwargs, cond_id=[])
        if net.num_known_conds and getattr(net, "cond_in_size", 0) and not self.takes_both:
            with pytest.raises(ValueError, match="cond_id: expected None when cond_input is given"):
                net(**kwargs, cond_id=0, cond_input=torch.zeros(1, net.cond_in_size, dtype=torch.float64))

    def test_wrong_inputs(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        if net.uncond_in_size:
            size = net.uncond_in_size
            for bad in (torch.zeros(size), torch.zeros(1, size + 1), torch.zeros(1, size, 1)):
                with pytest.raises(ValueError, match=r"uncond_input: expected a tensor of shape \(.*\)"):
                    net(**{**kwargs, "uncond_input": bad.double()})
            with pytest.raises((ValueError, TypeError), match="uncond_input: expected a"):
                net(**{k: v for k, v in kwargs.items() if k != "uncond_input"})
        else:
            with pytest.raises(ValueError, match="uncond_input: expected None"):
                net(**kwargs, uncond_input=torch.zeros(1, 2))

    # The module protocol.

    def test_state_dict(self, build):
        net = self.make(build)
        with torch.no_grad():
            for p in net.parameters():
                p.normal_()
        other = self.make(build)
        other.load_state_dict(net.state_dict())
        kwargs = self.inputs(net)
        assert torch.equal(self.flat(net, **kwargs), self.flat(other, **kwargs))

    def test_copies(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        expected = self.flat(net, **kwargs)
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(self.flat(twin, **kwargs), expected)
            with torch.no_grad():
                for p in twin.parameters():
                    p.zero_()
            assert not torch.allclose(self.flat(twin, **kwargs), expected)
        assert torch.equal(self.flat(net, **kwargs), expected)

    def test_dtype_and_meta(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        single = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
        expected = self.flat(net, **kwargs)
        assert torch.allclose(self.flat(net.float(), **single).double(), expected, rtol=1e-2, atol=1e-2)
        with torch.device("meta"):
            made = build().eval()
        meta = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in single.items()}
        assert self.flat(made, **meta).device.type == "meta"

    def test_compiles_as_one_graph(self, build):
        net = self.make(build)
        kwargs = self.inputs(net)
        torch._dynamo.reset()
        compiled = torch.compile(net, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(ret_format="flattened", **kwargs), self.flat(net, **kwargs), rtol=1e-10)

    def test_repr_counts(self, build):
        net = self.make(build)
        assert f"{net.num_outputs} outputs" in repr(net)

    # Growth.

    def test_conditions_can_be_added(self, build):
        net = self.make(build)
        if not net.num_known_conds:
            with pytest.raises(ValueError, match="num: expected a hypernetwork with conditions"):
                net.add_conditions(1)
            return
        before, known = {id(p) for p in net.parameters()}, net.num_known_conds
        kwargs = self.inputs(net)
        expected = self.flat(net, **kwargs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        added = net.add_conditions(2)
        optimizer.add_param_group({"params": added})
        assert net.num_known_conds == known + 2
        assert {id(p) for p in net.parameters()} == before | {id(p) for p in added}
        assert all(p.dtype == torch.float64 for p in added)
        assert torch.equal(self.flat(net, **kwargs), expected)
        self.test_lists_of_the_interface_agree(lambda: net)
        new = self.inputs(net, 1, ids=known + 1)
        self.flat(net, **new).sum().backward()
        touched = [p.grad is not None for p in added]
        mine = {id(p) for p in get_conditional_parameters(net, known + 1)}
        assert len(added) == 2 * len(mine)
        assert touched == [id(p) in mine for p in added]
        values = [p.detach().clone() for p in added]
        optimizer.step()
        assert [not torch.equal(a, b) for a, b in zip(added, values, strict=True)] == touched
        other = self.make(build)
        other.load_state_dict(net.state_dict())
        assert torch.equal(self.flat(other, **new), self.flat(net, **new))
        with pytest.raises(ValueError, match="num: expected an integer >= 1"):
            net.add_conditions(0)

    # Geometry.

    def oracle(self, net, weights=None):
        """The map and its Jacobian by brute force, and a Jacobian geometry."""
        where = self.one(net)

        def fn(z):
            return self.flat(net, uncond_input=z, weights=weights, **where)

        return fn, JacobianGeometry(fn, net.uncond_in_size, net.num_outputs, like=torch.empty(0, dtype=torch.float64))

    def geometry_cases(self, net):
        P, n = net.num_outputs, net.uncond_in_size
        z, other = (torch.randn(2, n, dtype=torch.float64) for _ in range(2))
        v, center = torch.randn(2, P, dtype=torch.float64), torch.randn(P, dtype=torch.float64)
        precisions = (2.0, torch.tensor(0.5, dtype=torch.float64), torch.rand(P, dtype=torch.float64))
        return z, other, v, center, precisions

    def test_geometry_values(self, build):
        net = self.make(build)
        if not net.uncond_in_size:
            with pytest.raises(ValueError, match="uncond_in_size: expected a hypernetwork with an unconditional input"):
                net.geometry(**self.one(net))
            return
        g, (fn, _) = net.geometry(**self.one(net)), self.oracle(net)
        z, other, v, center, precisions = self.geometry_cases(net)
        J = torch.stack([torch.autograd.functional.jacobian(lambda x: fn(x[None])[0], row) for row in z])
        close = {"rtol": 1e-8, "atol": 1e-10}
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
    def total(g, z, other, v, center, precision):
        """A scalar that depends on every method of a geometry."""
        eye = torch.eye(z.shape[-1], dtype=z.dtype)
        uneven = torch.arange(1.0, 1.0 + eye.numel(), dtype=z.dtype).view_as(eye)
        index = torch.tensor([0, g.num_weights - 1])
        gram = g.gram(z, precision)
        return (
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

    def test_geometry_gradients(self, build):
        """Gradients with respect to parameters, latents, center, vectors and precision, with weights passed in."""
        net = self.make(build)
        if not net.uncond_in_size:
            pytest.skip("no latent")
        weights = [p.detach().clone().requires_grad_() for p in net.internal_params]
        z, other, v, center, precisions = self.geometry_cases(net)
        for precision in precisions:
            leaves = [t.requires_grad_() for t in (z, other, v, center, precision) if isinstance(t, torch.Tensor)]
            g, (_, oracle) = net.geometry(weights=weights, **self.one(net)), self.oracle(net, weights)
            totals = [self.total(x, z, other, v, center, precision) for x in (g, oracle)]
            got, want = (torch.autograd.grad(x, [*weights, *leaves], allow_unused=True) for x in totals)
            for a, b in zip(got, want, strict=True):
                assert (a is None or a.abs().max() == 0) if b is None else (a - b).abs().max() <= 1e-6 * b.abs().max()

    def test_geometry_wants_one_condition(self, build):
        net = self.make(build)
        if not (net.uncond_in_size and net.num_known_conds > 1):
            pytest.skip("no latent or fewer than two conditions")
        with pytest.raises(ValueError, match="cond_id: expected one condition"):
            net.geometry(cond_id=[0, 1])

    def test_geometry_refuses_noise(self, build):
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

    def test_external_parameters(self, build_external):
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
