"""Soft weight sharing
======================

Soft weight sharing: the layers of a network are linear combinations of a few templates, which are learnt with them.

Run it with ``python examples/soft_sharing.py``. Where two layers learn to use the templates in the same proportions,
they have become one layer that is applied twice. The idea is that of Savarese and Maire, "Learning implicitly recurrent
CNNs through parameter sharing", 2019.
"""

import torch
from torch import Tensor, nn

from bayeshnet.hnets import StructuredHMLP
from bayeshnet.mnets import ModuleMainNet

LAYERS, WIDTH, TEMPLATES = 6, 24, 2


def one_each(chunks: list[list[Tensor]]) -> list[Tensor]:
    """Each chunk is the matrix of one layer."""
    return [chunk[0] for chunk in chunks]


def spirals(num: int) -> tuple[Tensor, Tensor]:
    """Two intertwined spirals: points ``(num, 2)`` and their labels."""
    label = torch.arange(num) % 2
    turn = 3 * torch.pi * torch.rand(num).sqrt()
    angle = turn + torch.pi * label
    points = turn.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1) / 5
    return points + 0.03 * torch.randn(num, 2), label


def main(steps: int = 600) -> float:
    """Train a network of shared templates, show how its layers combine them, and return its accuracy."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    module = nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), *hidden, nn.Linear(WIDTH, 2))

    # The square matrices come from outside; the first and last layers and all biases stay parameters of the network.
    names = [name for name, p in module.named_parameters() if p.shape == (WIDTH, WIDTH)]
    net = ModuleMainNet(module, select=names, train_rest=True)

    # A linear hypernetwork without biases: its weights are the templates, and a layer's coefficients are its embedding.
    hnet = StructuredHMLP(
        net.hyper_shapes_learned,
        chunk_shapes=[[[WIDTH, WIDTH]]],
        num_per_chunk=[LAYERS],
        chunk_emb_sizes=TEMPLATES,
        hmlp_kwargs={"layers": [], "use_bias": False},
        assembly_fct=one_each,
        cond_chunk_embs=True,
        uncond_in_size=0,
        cond_in_size=0,
        num_cond_embs=1,
        verbose=False,
    )
    hnet.internal_hnets[0].apply_hyperfan_init(use_xavier=True)
    optimizer = torch.optim.Adam([*net.parameters(), *hnet.parameters()], lr=5e-3)
    x, y = spirals(400)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(x, weights=hnet(cond_id=0)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with torch.no_grad():
        x, y = spirals(1000)
        accuracy = (net(x, weights=hnet(cond_id=0)).argmax(-1) == y).float().mean().item()
        (coefficients,) = hnet.get_chunk_embs(cond_id=0)
        directions = nn.functional.normalize(coefficients, dim=-1)
    print(f"accuracy {accuracy:.1%} with {hnet.num_params} weights instead of {hnet.num_outputs} in the shared layers")
    print("similarity of layers, 1 for those that are the same layer up to its scale:")
    for row in (directions @ directions.mT).abs():
        print("  " + " ".join(f"{value:.2f}" for value in row))
    return accuracy


if __name__ == "__main__":
    main()
