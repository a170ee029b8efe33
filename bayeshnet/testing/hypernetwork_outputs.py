"""Tests of what hypernetworks generate, and of their parameters."""

from __future__ import annotations

import copy

import pytest
import torch

from .suite import BATCH, Build, HypernetworkSuite

__all__ = ["HypernetworkOutputs"]


class HypernetworkOutputs(HypernetworkSuite):
    """Formats, conditions, parameters, and parameters that are passed in."""

    # Outputs and formats.

    def test_formats(self, build: Build) -> None:
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

    def test_default_format_is_squeezed(self, build: Build) -> None:
        net = self.make(build)
        assert [list(t.shape) for t in net(**self.inputs(net, 1))] == net.target_shapes

    def test_unknown_format(self, build: Build) -> None:
        net = self.make(build)
        with pytest.raises(ValueError, match=r"ret_format: expected one of .*'flattened'.*, got 'flat'"):
            net(ret_format="flat", **self.inputs(net))

    def test_samples_do_not_mix(self, build: Build) -> None:
        net = self.make(build)
        kwargs = self.inputs(net)
        together = self.flat(net, **kwargs)
        for i in range(BATCH):
            alone = {k: v[i : i + 1] for k, v in kwargs.items()}
            assert torch.allclose(self.flat(net, **alone)[0], together[i], rtol=1e-10)

    def test_conditions_by_id_list_tensor(self, build: Build) -> None:
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

    def test_batches_of_one_are_repeated(self, build: Build) -> None:
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

    def test_conditions_differ_only_by_their_own_tensors(self, build: Build) -> None:
        net = self.make(build)
        if net.num_known_conds < 2 or net.conditional_params is None:
            pytest.skip("fewer than two conditions")
        kwargs = self.inputs(net, 1, ids=0)
        grads = torch.autograd.grad(self.flat(net, **kwargs).sum(), net.conditional_params, allow_unused=True)
        groups = [r.group for r in net._ledger.conditional if r.home is not None]
        assert {g for g, d in zip(groups, grads, strict=True) if d is not None} == {"cond0"}

    # Parameters.

    def test_gradients_reach_every_parameter(self, build: Build) -> None:
        net = self.make(build)
        kwargs = self.inputs(net, max(BATCH, net.num_known_conds))
        out = self.flat(net, **kwargs)
        (out * torch.randn_like(out)).sum().backward()
        for name, p in net.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name

    def test_lists_of_the_interface_agree(self, build: Build) -> None:
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

    def test_weights_from_outside(self, build: Build) -> None:
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

    def test_gradients_reach_weights_from_outside(self, build: Build) -> None:
        net = self.make(build)
        values = [p.detach().clone().requires_grad_() for p in net.internal_params]
        out = self.flat(net, weights=values, **self.inputs(net, max(BATCH, net.num_known_conds)))
        grads = torch.autograd.grad((out * torch.randn_like(out)).sum(), values)
        assert all(g.abs().sum() > 0 for g in grads)

    def test_wrong_weights(self, build: Build) -> None:
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
