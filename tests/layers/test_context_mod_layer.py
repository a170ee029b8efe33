"""Context modulation against its formula; checkpoints, initializers and refusals."""

import pytest
import torch
import torch.nn.functional as F

from bayeshnet.layers import ContextModLayer


@pytest.mark.parametrize(
    "options", [{}, {"apply_gain_offset": True}, {"apply_gain_softplus": True, "softplus_scale": 3.0}]
)
@pytest.mark.parametrize("features", [4, (4, 1, 1), (4, 2, 3)])
def test_formula(options, features):
    layer = ContextModLayer(features, no_weights=True, **options)
    shape = [features] if isinstance(features, int) else list(features)
    x = torch.randn(5, 4) if isinstance(features, int) else torch.randn(5, 4, 2, 3)
    gain, shift = torch.randn(shape), torch.randn(shape)
    used = gain
    if "apply_gain_offset" in options:
        used = 1 + gain
    if "apply_gain_softplus" in options:
        used = torch.log(1 + torch.exp(3 * gain)) / 3
    torch.testing.assert_close(layer(x, weights=[gain, shift]), torch.stack([one * used + shift for one in x]))
    assert layer.param_shapes == [shape, shape]


def test_one_set_per_sample():
    layer, x = ContextModLayer(3), torch.randn(4, 3)
    gains, shifts = torch.randn(4, 3), torch.randn(4, 3)
    rows = [layer(x[i : i + 1], weights=[gains[i], shifts[i]]) for i in range(4)]
    torch.testing.assert_close(layer(x, weights=[gains, shifts]), torch.cat(rows))
    sequence = torch.randn(7, 4, 3)
    torch.testing.assert_close(layer(sequence, weights=[gains, shifts], bs_dim=1)[2], sequence[2] * gains + shifts)
    with pytest.raises(ValueError, match=r"weights \(gain\): expected a tensor of shape \(4, 3\)"):
        layer(x, weights=[torch.randn(5, 3), shifts])


def test_only_gains_or_shifts():
    x = torch.randn(2, 3)
    gains, shifts = ContextModLayer(3, no_shifts=True), ContextModLayer(3, no_gains=True)
    assert gains.param_shapes_meta == ["gain"]
    assert shifts.param_shapes_meta == ["shift"]
    assert (gains.has_gains, gains.has_shifts, shifts.has_gains, shifts.has_shifts) == (True, False, False, True)
    gains.normal_init()
    shifts.uniform_init()
    torch.testing.assert_close(gains(x), x * gains.gain)
    torch.testing.assert_close(shifts(x), x + shifts.shift)
    gains.checkpoint_weights()
    shifts.checkpoint_weights()
    assert gains.get_weights(0)[1] is None
    assert shifts.get_weights(0)[0] is None


@pytest.mark.parametrize("offset", [False, True])
def test_checkpoints(offset):
    layer, x = ContextModLayer(3, apply_gain_offset=offset), torch.randn(2, 3)
    torch.testing.assert_close(layer(x), x)
    layer.normal_init(std=0.5)
    first = layer(x).detach()
    layer.checkpoint_weights()
    torch.testing.assert_close(layer(x), x)
    torch.testing.assert_close(layer(x, ckpt_id=0), first)
    torch.testing.assert_close(layer(x, ckpt_id=1), x)
    layer.uniform_init()
    layer.checkpoint_weights(no_reinit=True)
    torch.testing.assert_close(layer(x, ckpt_id=1), layer(x))
    fresh = ContextModLayer(3, apply_gain_offset=offset)
    fresh.load_state_dict(layer.state_dict())
    assert fresh.num_ckpts == 2
    torch.testing.assert_close(fresh(x, ckpt_id=0), first)
    with pytest.raises(ValueError, match="ckpt_id: expected an integer up to 2"):
        layer.get_weights(3)
    with pytest.warns(UserWarning, match="ckpt_id is ignored"):
        layer(x, weights=[torch.ones(3), torch.zeros(3)], ckpt_id=0)


@pytest.mark.parametrize("offset", [False, True])
def test_initializers(offset):
    layer = ContextModLayer(4000, apply_gain_offset=offset)
    center = 0.0 if offset else 1.0
    generator = torch.Generator().manual_seed(1)
    layer.normal_init(std=0.5, generator=generator)
    assert abs(layer.gain.mean().item() - center) < 0.05
    assert abs(layer.gain.std().item() - 0.5) < 0.03
    layer.uniform_init(width=2.0, generator=generator)
    assert layer.gain.min() >= center - 2
    assert layer.gain.max() <= center + 2
    assert abs(layer.shift.std().item() - 2 / 3**0.5) < 0.05
    layer.sparse_init(0.75, generator=generator)
    assert (layer.preprocess_gain(layer.gain) == 0).sum() == 3000
    assert torch.equal(layer.shift, torch.zeros(4000))


def test_refusals():
    with pytest.raises(ValueError, match="no_shifts: expected False when no_gains"):
        ContextModLayer(3, no_gains=True, no_shifts=True)
    with pytest.raises(ValueError, match="apply_gain_softplus: expected False when apply_gain_offset"):
        ContextModLayer(3, apply_gain_offset=True, apply_gain_softplus=True)
    bare = ContextModLayer(3, no_weights=True)
    assert bare.weights is None
    with pytest.raises(ValueError, match="weights: expected gains and shifts, got None"):
        bare(torch.zeros(1, 3))
    for method in (bare.checkpoint_weights, bare.normal_init, bare.uniform_init, bare.sparse_init):
        with pytest.raises(ValueError, match="a layer that keeps its weights"):
            method()
    with pytest.raises(ValueError, match="weights: expected 2 tensors, got 1"):
        bare(torch.zeros(1, 3), weights=[torch.zeros(3)])
    with pytest.raises(ValueError, match="sparsity: expected"):
        ContextModLayer(3).sparse_init(1.5)


def test_softplus_is_stable():
    layer = ContextModLayer(1, apply_gain_softplus=True)
    assert torch.isfinite(layer.preprocess_gain(torch.tensor([1000.0, -1000.0]))).all()
    assert layer.gain_softplus_applied
    assert not layer.gain_offset_applied
    torch.testing.assert_close(layer.preprocess_gain(torch.tensor([0.3])), F.softplus(torch.tensor([0.3])))
