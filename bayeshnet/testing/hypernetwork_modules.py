"""Tests of hypernetworks as modules: wrong arguments, states, copies, compilation, and conditions that are added."""

from __future__ import annotations

import pytest
import torch

from ..hnets import get_conditional_parameters
from .hypernetwork_outputs import HypernetworkOutputs
from .suite import Build

__all__ = ["HypernetworkModules"]


class HypernetworkModules(HypernetworkOutputs):
    """Refused arguments, the protocol of torch's modules, and growth."""

    # Bad inputs.

    def test_wrong_conditions(self, build: Build) -> None:
        net = self.make(build)
        kwargs = {k: v for k, v in self.inputs(net).items() if k != "cond_id"}
        with pytest.raises(ValueError, match=r"cond_id: expected condition identifiers|cond_id: expected None"):
            net(**{k: v for k, v in kwargs.items() if k != "cond_input"}, cond_id=net.num_known_conds + 2)
        if net.num_known_conds:
            for bad in (-1, [0, net.num_known_conds], torch.tensor([net.num_known_conds])):
                with pytest.raises(ValueError, match="cond_id: expected condition identifiers between 0 and"):
                    net(**kwargs, cond_id=bad)
            for wrong in ("a", 1.5, [0.5], torch.tensor([0.5]), True):
                with pytest.raises(TypeError, match="cond_id: expected an integer"):
                    net(**kwargs, cond_id=wrong)
            with pytest.raises(ValueError, match="cond_id: expected at least one condition"):
                net(**kwargs, cond_id=[])
        if net.num_known_conds and getattr(net, "cond_in_size", 0) and not self.takes_both:
            with pytest.raises(ValueError, match="cond_id: expected None when cond_input is given"):
                net(**kwargs, cond_id=0, cond_input=torch.zeros(1, net.cond_in_size, dtype=torch.float64))

    def test_wrong_inputs(self, build: Build) -> None:
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

    def test_state_dict(self, build: Build) -> None:
        net = self.make(build)
        with torch.no_grad():
            for p in net.parameters():
                p.normal_()
        other = self.make(build)
        other.load_state_dict(net.state_dict())
        kwargs = self.inputs(net)
        assert torch.equal(self.flat(net, **kwargs), self.flat(other, **kwargs))

    def test_copies(self, build: Build) -> None:
        net = self.make(build)
        kwargs = self.inputs(net)
        expected = self.flat(net, **kwargs)
        for twin in self.twins(net):
            assert torch.equal(self.flat(twin, **kwargs), expected)
            with torch.no_grad():
                for p in twin.parameters():
                    p.zero_()
            assert not torch.allclose(self.flat(twin, **kwargs), expected)
        assert torch.equal(self.flat(net, **kwargs), expected)

    def test_dtype_and_meta(self, build: Build) -> None:
        net = self.make(build)
        kwargs = self.inputs(net)
        single = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
        expected = self.flat(net, **kwargs)
        assert torch.allclose(self.flat(net.float(), **single).double(), expected, rtol=1e-2, atol=1e-2)
        with torch.device("meta"):
            made = build().eval()
        meta = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in single.items()}
        assert self.flat(made, **meta).device.type == "meta"

    def test_compiles_as_one_graph(self, build: Build) -> None:
        net = self.make(build)
        kwargs = self.inputs(net)
        torch._dynamo.reset()
        compiled = torch.compile(net, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(ret_format="flattened", **kwargs), self.flat(net, **kwargs), rtol=1e-10)  # type: ignore[no-untyped-call]

    def test_repr_counts(self, build: Build) -> None:
        net = self.make(build)
        assert f"{net.num_outputs} outputs" in repr(net)

    # Growth.

    def test_conditions_can_be_added(self, build: Build) -> None:
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
