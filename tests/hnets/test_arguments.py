"""Constructor arguments, options and formats of hypernetworks, one by one."""

import numpy as np
import pytest
import torch
from torch import nn

from bayeshnet.hnets import HMLP, ChunkedHMLP, HPerturbWrapper

SHAPES = [[4, 3], [5]]

BAD = [
    ({"target_shapes": []}, "target_shapes"),
    ({"target_shapes": [[0]]}, "target_shapes"),
    ({"target_shapes": [3]}, "target_shapes"),
    ({"target_shapes": [[2.0]]}, "target_shapes"),
    ({"uncond_in_size": -1}, "uncond_in_size"),
    ({"cond_in_size": 1.5}, "cond_in_size"),
    ({"layers": 3}, "layers"),
    ({"layers": [3, 0]}, "layers"),
    ({"activation_fn": "relu"}, "activation_fn"),
    ({"activation_fn": nn.Tanh}, "activation_fn"),
    ({"num_cond_embs": -1}, "num_cond_embs"),
    ({"num_cond_embs": True}, "num_cond_embs"),
    ({"dropout_rate": 1.5}, "dropout_rate"),
    ({"dropout_rate": -0.5}, "dropout_rate"),
    ({"dropout_rate": float("nan")}, "dropout_rate"),
    ({"dropout_rate": "0.5"}, "dropout_rate"),
    ({"linear_skip": True}, "linear_skip"),
    ({"cond_in_size": 0}, "uncond_in_size and cond_in_size"),
]


@pytest.mark.parametrize(("options", "argument"), BAD)
@pytest.mark.parametrize("cls", [HMLP, ChunkedHMLP])
def test_bad_arguments(cls, options, argument):
    more = {"chunk_size": 4} if cls is ChunkedHMLP else {}
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected .*, got "):
        cls(**{"target_shapes": SHAPES, "verbose": False, **more, **options})


@pytest.mark.parametrize("bad", [{"chunk_size": 0}, {"chunk_size": 2.5}, {"chunk_size": 3, "chunk_emb_size": 0}])
def test_bad_chunks(bad):
    with pytest.raises((ValueError, TypeError), match=f"^{list(bad)[-1]}: expected an integer"):
        ChunkedHMLP(SHAPES, verbose=False, **bad)


def test_documented_positions():
    """The documented order of arguments."""
    net = HMLP(SHAPES, 2, 3, [4], False, nn.Tanh(), False, False, False, 2, -1, False, False)
    assert net.param_shapes == [[3], [3], [4, 5], [17, 4]]
    net = ChunkedHMLP(SHAPES, 9, 2, False, 1, 3, [4], False, nn.Tanh(), True, False, False, 2, 0.1, False, False)
    assert net.param_shapes == [[3], [3], [4, 6], [4], [9, 4], [9], [2, 2]]


def test_conditions_as_arrays():
    net = HMLP(SHAPES, num_cond_embs=3, verbose=False)
    expected = net(cond_id=[2, 0], ret_format="flattened")
    assert torch.equal(net(cond_id=np.array([2, 0]), ret_format="flattened"), expected)
    torch.testing.assert_close(net(cond_id=np.int32(2), ret_format="flattened")[0], expected[0])
    for bad in (np.array([0.5]), np.array([[0]]), np.bool_(True)):
        with pytest.raises(TypeError, match="cond_id: expected an integer"):
            net(cond_id=bad)


@pytest.mark.parametrize("cls", [HMLP, ChunkedHMLP])
def test_empty_batches(cls):
    net = cls(SHAPES, *([4] if cls is ChunkedHMLP else []), uncond_in_size=2, cond_in_size=0, verbose=False)
    with pytest.raises(ValueError, match="uncond_input: expected at least one sample, got"):
        net(torch.zeros(0, 2))


def test_dropout_drops():
    net = HMLP([[50]], layers=[50], dropout_rate=0.5, verbose=False)
    x = torch.randn(1, 8)
    assert not torch.equal(net(cond_input=x)[0], net(cond_input=x)[0])
    net.eval()
    assert torch.equal(net(cond_input=x)[0], net(cond_input=x)[0])
    never = HMLP([[5]], dropout_rate=1, verbose=False)
    assert torch.equal(never(cond_input=x)[0], never(cond_input=x)[0])


def test_spectral_norm():
    """Hidden matrices have a spectral norm of one, whatever their scale; the head keeps its own."""
    net = HMLP([[50]], 0, 8, [20], activation_fn=None, use_bias=False, use_spectral_norm=True, verbose=False)
    x = torch.randn(1, 8)
    before = net(cond_input=x)[0]
    with torch.no_grad():
        net.params["layer1_weight"] *= 10
        net.params["layer3_weight"] *= 3
    for _ in range(20):
        after = net(cond_input=x)[0]
    torch.testing.assert_close(after, 3 * before, rtol=1e-2, atol=1e-3)
    weight = net.params["layer1_weight"].detach()
    direct = net.params["layer3_weight"] @ (weight / torch.linalg.matrix_norm(weight, 2)) @ x[0]
    torch.testing.assert_close(after, direct, rtol=1e-2, atol=1e-3)


def test_linear_skip():
    net = HMLP([[5]], 3, 2, [4], linear_skip=True, num_cond_embs=0, verbose=False).double()
    z, e = torch.randn(2, 3).double(), torch.randn(2, 2).double()
    p = net.params
    hidden = torch.relu(torch.cat([z, e], 1) @ p["layer1_weight"].T + p["layer1_bias"])
    wanted = torch.cat([hidden, z], 1) @ p["layer3_weight"].T + p["layer3_bias"]
    torch.testing.assert_close(net(z, e, ret_format="flattened"), wanted)


def test_stretched_skip():
    with pytest.raises(ValueError, match=r"^stretch: expected False without linear_skip, got"):
        HMLP([[5]], 3, 2, [4], stretch=True, verbose=False)
    net = HMLP([[5]], 3, 2, [4], linear_skip=True, stretch=True, num_cond_embs=0, verbose=False).double()
    plain = HMLP([[5]], 3, 2, [4], linear_skip=True, num_cond_embs=0, verbose=False).double()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if "stretch" not in k})
    z, e = torch.randn(2, 3).double(), torch.randn(2, 2).double()
    torch.testing.assert_close(net(z, e, ret_format="flattened"), plain(z, e, ret_format="flattened"))
    p = net.params
    torch.nn.init.normal_(p["stretch"])
    first, second, third = z.unbind(1)
    low = p["stretch"]
    moved = [first, second * (low[1, 0] * first).exp(), third * (low[2, 0] * first + low[2, 1] * second).exp()]
    hidden = torch.relu(torch.cat([z, e], 1) @ p["layer1_weight"].T + p["layer1_bias"])
    wanted = torch.cat([hidden, torch.stack(moved, 1)], 1) @ p["layer3_weight"].T + p["layer3_bias"]
    torch.testing.assert_close(net(z, e, ret_format="flattened"), wanted)


def test_statistics_of_conditions():
    net = HMLP([[5]], layers=[4], num_cond_embs=2, use_batch_norm=True, verbose=False)
    for norm in net.batchnorm_layers:
        norm.checkpoint_stats()
    net(cond_input=5 + torch.randn(10, 8), condition=1)
    net.eval()
    out = [net(cond_id=0, condition=i)[0] for i in (0, 1)]
    assert not torch.allclose(*out)
    with pytest.raises(ValueError, match="stats_id: expected an integer below 2"):
        net(cond_id=0)


def test_task_embeddings_of_old():
    net = HMLP([[5]], num_cond_embs=2, verbose=False)
    with pytest.warns(DeprecationWarning, match="use conditional_params"):
        assert net.get_task_emb(1) is net.get_cond_in_emb(1)
    with pytest.warns(DeprecationWarning, match="use conditional_params"):
        assert len(net.get_task_embs()) == 2
    with (
        pytest.warns(DeprecationWarning, match="get_task_emb"),
        pytest.raises(ValueError, match="task_id: expected an integer below 2"),
    ):
        net.get_task_emb(2)


def test_perturbed_parameters():
    net = HMLP([[5]], layers=[3], verbose=False)
    deltas = [torch.randn_like(p) for p in net.unconditional_params]
    moved = net.add_to_uncond_params(deltas)
    assert all(torch.equal(m, p + d) for m, p, d in zip(moved, net.unconditional_params, deltas, strict=True))
    assert all(torch.equal(m, 2 * d) for m, d in zip(net.add_to_uncond_params(deltas, deltas), deltas, strict=True))
    with pytest.raises(ValueError, match="dparams: expected 4 tensors, got 1"):
        net.add_to_uncond_params(deltas[:1])
    with pytest.raises(ValueError, match=r"dparams\[0\]: expected a tensor of shape \(3, 8\)"):
        net.add_to_uncond_params([deltas[1], *deltas[1:]])
    with pytest.raises(ValueError, match="params: expected a list of tensors, got None"):
        HMLP([[5]], no_uncond_weights=True, verbose=False).add_to_uncond_params(deltas)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.zeros(2, 16), "flattened", "squeezed"), r"hnet_out: expected a tensor of shape \(any, 17\)"),
        ((torch.zeros(2, 17), "sequential", "flattened"), "hnet_out: expected a list in the format 'sequential'"),
        (([], "sequential", "flattened"), "hnet_out: expected at least one sample"),
        (([[torch.zeros(4, 3)]], "sequential", "squeezed"), "hnet_out: expected lists of 2 tensors"),
        (([torch.zeros(4, 3), torch.zeros(4)], "squeezed", "flattened"), r"hnet_out: expected a tensor of shape \(5\)"),
        ((torch.zeros(2, 17), "flat", "squeezed"), "src_format: expected one of"),
        ((torch.zeros(2, 17), "flattened", "list"), "trgt_format: expected one of"),
    ],
)
def test_bad_conversions(args, message):
    with pytest.raises((ValueError, TypeError), match=message):
        HMLP(SHAPES, verbose=False).convert_out_format(*args)


# The wrapper.


def inner(**kwargs):
    return HMLP(SHAPES, 3, 2, layers=[4], num_cond_embs=2, verbose=False, **kwargs).double()


def test_equations_of_noise():
    net = inner()
    z = torch.randn(2, 17).double()
    shared = HPerturbWrapper(net, 3, 0.3, verbose=False)
    wanted = net(z[:, :3], cond_id=1, ret_format="flattened") + 0.3 * z
    assert torch.equal(shared(z, cond_id=1, ret_format="flattened"), wanted)
    z = torch.randn(2, 20).double()
    independent = HPerturbWrapper(net, 3, 0.3, verbose=False, noise="independent")
    assert independent.uncond_in_size == 20
    wanted = net(z[:, :3], cond_id=1, ret_format="flattened") + 0.3 * z[:, 3:]
    assert torch.equal(independent(z, cond_id=1, ret_format="flattened"), wanted)
    assert shared.internal_hnet is net
    assert (shared.sigma_noise, shared.noise, independent.noise) == (0.3, "shared", "independent")


def test_an_output_handler_replaces_the_noise():
    handled = HPerturbWrapper(inner(), 3, 0.3, output_handler=lambda out, **_: 2 * out, verbose=False)
    assert handled.sigma_noise == 0.0
    z = torch.randn(2, 17).double()
    wanted = 2 * handled.hnet(z[:, :3], cond_id=1, ret_format="flattened")
    assert torch.equal(handled(z, cond_id=1, ret_format="flattened"), wanted)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"hnet": nn.Linear(2, 2)}, "hnet"),
        ({"hnet_uncond_in_size": None}, "hnet_uncond_in_size"),
        ({"hnet_uncond_in_size": 2}, "hnet_uncond_in_size"),
        ({"sigma_noise": -0.1}, "sigma_noise"),
        ({"noise": "white"}, "noise"),
        ({"input_handler": 3}, "input_handler"),
        ({"output_handler": 3}, "output_handler"),
        ({"hnet": HMLP([[2]], 3, 0, verbose=False)}, "hnet_uncond_in_size"),
    ],
)
def test_bad_wrappers(options, argument):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
        HPerturbWrapper(**{"hnet": inner(), "hnet_uncond_in_size": 3, "verbose": False, **options})


def test_bad_handlers():
    z = torch.zeros(1, 17).double()
    with pytest.raises(ValueError, match="input_handler: expected a function that returns"):
        HPerturbWrapper(inner(), 3, input_handler=lambda **kwargs: 3, verbose=False)(z)
    with pytest.raises(ValueError, match="output_handler: expected a tensor of shape"):
        HPerturbWrapper(inner(), 3, output_handler=lambda out, **kwargs: out[:, 1:], verbose=False)(z, cond_id=0)
