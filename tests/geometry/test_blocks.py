"""Maps to long weight vectors, block by block: the values, sums and gradients of the whole map."""

import pytest
import torch

from bayeshnet.geometry import ConstantGeometry, JacobianGeometry
from bayeshnet.geometry.blocks import part_of, ranges
from bayeshnet.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP
from bayeshnet.speed import using
from tests.support.oracles import gradients

DOUBLE = torch.float64
SIZES = {"uncond_in_size": 3, "cond_in_size": 2, "num_cond_embs": 2, "verbose": False}


def hypernetwork(name, rest=3):
    """Make a hypernetwork of chunks of 16 weights, the last one of which is cut by ``16 - rest``."""
    shapes = [[2, 16], [rest]] if rest else [[3, 16]]
    make = {
        "full": lambda: HMLP(shapes, layers=[5], activation_fn=torch.nn.Tanh(), **SIZES),
        "chunks": lambda: ChunkedHMLP(shapes, 16, layers=[5], activation_fn=torch.nn.Tanh(), **SIZES),
        "own chunks": lambda: ChunkedHMLP(shapes, 16, layers=[5], cond_chunk_embs=True, **SIZES),
        "images": lambda: ChunkedHDeconv(shapes, (4, 4), num_layers=3, num_filters=[4, 3], sa_units=(), **SIZES),
    }
    return make[name]().to(DOUBLE)


@pytest.mark.parametrize("name", ["full", "chunks", "own chunks", "images", "constant"])
def test_parts_of_the_map(name):
    if name == "constant":
        geometry = ConstantGeometry(torch.randn(35, dtype=DOUBLE), 3)
    else:
        geometry = hypernetwork(name).geometry(cond_id=1)
    z = torch.randn(2, 4, 3, dtype=DOUBLE)
    whole = geometry(z)
    for start, stop in [(0, 35), (0, 16), (5, 11), (3, 20), (15, 33), (17, 19), (33, 35), (34, 35)]:
        found = part_of(geometry, z, start, stop)
        torch.testing.assert_close(found, whole[..., start:stop], rtol=1e-12, atol=1e-14)
    assert ranges(35, 16) == [(0, 16), (16, 32), (32, 35)]


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 2), (30, 36)])
def test_ranges_outside_are_refused(start, stop):
    geometry = hypernetwork("chunks").geometry(cond_id=0)
    with pytest.raises(ValueError, match="start"):
        part_of(geometry, geometry.zero_latent(), start, stop)


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("block", [1, 200])
def test_jacobians_by_blocks_of_weights(block, precise):
    """Sums over blocks are those over all weights, for a hypernetwork whose Jacobian has no closed form."""
    hnet = hypernetwork("images")
    geometry, whole = hnet.geometry(cond_id=1), _whole(hnet)
    assert isinstance(geometry, JacobianGeometry)
    z = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    center = torch.randn(35, dtype=DOUBLE)
    precision = torch.rand(35, dtype=DOUBLE).add(0.5).requires_grad_() if precise else 2.0
    inputs = [*hnet.parameters(), z, *([precision] if precise else [])]
    for compute in (
        lambda g: g.gram(z, precision),
        lambda g: g.sqdist(z, center, precision),
        lambda g: g.sqdist(z, None, precision),
    ):
        wanted = compute(whole)
        with using(jacobian_block=block):
            found = compute(geometry)
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
            weight = torch.randn_like(wanted)
            pulled = gradients((found * weight).sum(), inputs)  # recomputes each block
        for one, other in zip(pulled, gradients((wanted * weight).sum(), inputs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def _whole(hnet):
    """Return the geometry of the same map as a plain function."""
    return JacobianGeometry(
        lambda z: hnet(z, cond_id=1, ret_format="flattened"), 3, 35, like=torch.empty(0, dtype=DOUBLE)
    )


def test_single_precision_is_summed_in_double():
    """A Gram matrix whose terms cancel in single precision is that of the columns as they are."""
    columns = torch.tensor([[1e4, 1.0], [1.0, 1e-4]] * 6)
    geometry = JacobianGeometry(
        lambda z: z @ columns.T, 2, 12, like=columns, part=lambda z, a, b: z @ columns[a:b].T, unit=2
    )
    with using(jacobian_block=8):
        found = geometry.gram(torch.zeros(2))
    torch.testing.assert_close(found, columns.double().T @ columns.double(), rtol=1e-14, atol=0)
    assert found.dtype == DOUBLE


@pytest.mark.parametrize("rest", [3, 0])
@pytest.mark.parametrize("use_bias", [True, False])
def test_norms_of_chunked_outputs(rest, use_bias):
    """Squared norms through Gram matrices, whose shift by the bias is computed for each kind of chunk once."""
    options = {"layers": [5], "activation_fn": torch.nn.Tanh(), "use_bias": use_bias}
    hnet = ChunkedHMLP([[2, 16], [rest]] if rest else [[3, 16]], 16, **options, **SIZES).to(DOUBLE)
    z = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    inputs = [*hnet.parameters(), z]
    with using(short_weights=0):
        found = hnet.geometry(cond_id=1).sqdist(z, None, 3.0)
    wanted = 3.0 * hnet(z, cond_id=1, ret_format="flattened").square().sum(-1)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    for one, other in zip(gradients(found.sin().sum(), inputs), gradients(wanted.sin().sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_transforms_see_one_block():
    """They know no recomputation; values and gradients are those of blocks."""
    geometry = hypernetwork("images").geometry(cond_id=1)
    z = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    with using(jacobian_block=1):
        for compute in (lambda z: geometry.sqdist(z).sum(), lambda z: geometry.gram(z).square().sum()):
            (right,) = torch.autograd.grad(compute(z), z)
            torch.testing.assert_close(torch.func.grad(compute)(z.detach()), right, rtol=1e-9, atol=1e-12)
