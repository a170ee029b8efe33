"""Hyperfan initialization as methods of hypernetworks that are perceptrons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Generator, Tensor, nn

from ...errors import check_flags, check_number, value_error
from ...mnets.mnet_interface import MainNetInterface
from ..parts.subnet_hypernetwork import ChunkedHypernetwork, SubnetHypernetwork
from ..subnets.mlp import MLPSubnet
from .chunked import apply_chunked_hyperfan
from .hyperfan import apply_hyperfan, init_hidden, input_variance
from .targets import describe_targets

__all__ = ["ChunkedHyperfan", "Hyperfan"]

PerTarget = Sequence[float | None] | Mapping[str, float]


def _own_layers(net: SubnetHypernetwork) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return the weights and biases of ``net``; refuse one whose weights are passed in."""
    weights = list(net.layer_weight_tensors)
    if not weights:
        raise value_error(
            "hypernetwork",
            expected="one that keeps its unconditional weights",
            found="one that does not",
            hint="Initialize them where they are parameters.",
        )
    biases = list(net.layer_bias_vectors)
    return weights, biases or [None] * len(weights)


class Hyperfan(SubnetHypernetwork):
    """A full hypernetwork, a perceptron, with hyperfan initialization."""

    subnet: MLPSubnet

    def apply_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        mnet: MainNetInterface | None = None,
        w_val: PerTarget | None = None,
        w_var: PerTarget | None = None,
        b_val: PerTarget | None = None,
        b_var: PerTarget | None = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        r"""Initialize the hypernetwork such that the main network starts as if initialized directly.

        Hidden layers get a fan-in initialization, which preserves the variance of the input. The variances of the
        output head are chosen such that each target tensor has the variance of Xavier's or Kaiming's rule. All inputs
        are assumed to have mean zero.

        Args:
            method: ``"in"`` preserves the variance of the main network's activations, ``"out"`` that of its gradients,
                ``"harmonic"`` takes the harmonic mean of both.
            use_xavier: use Xavier's rule instead of Kaiming's.
            uncond_var: variance of unconditional inputs.
            cond_var: variance of conditional inputs.
            mnet: the main network, whose meta information describes the targets. Without it one-dimensional targets are
                assumed to be the biases of the tensors before them.
            w_val: means of the output head's weight rows, a list with an entry (or None) for each target tensor, or a
                dict by the tensors' names in ``param_shapes_meta``; 0 by default.
            w_var: their variances; by default those of the method for weights and biases, 0 for other tensors.
            b_val: means of the head's biases; by default 1 for ``bn_scale`` and ``cm_scale``, else 0.
            b_var: their variances; by default 1 for ``embedding``, else 0.
            generator: source of randomness.

        Raises:
            ValueError: for an unknown method, or if the weights are not parameters of the hypernetwork.

        References:
            Chang, Flokas, Lipson, "Principled weight initialization for hypernetworks", 2020.

        Example:
            >>> import torch
            >>> from bayeshnet.hnets import HMLP
            >>> hnet = HMLP([[100, 50], [100]], verbose=False)
            >>> hnet.apply_hyperfan_init()
            >>> made = hnet(cond_input=torch.randn(500, 8), ret_format="flattened")[:, :5000]
            >>> bool((made.var() - 0.02).abs() < 0.01)  # 2 / 50 by Kaiming's rule, half of it for the bias
            True
        """
        check_flags(use_xavier=use_xavier)
        weights, biases = _own_layers(self)
        targets = describe_targets(self.target_shapes, mnet)
        uncond_var, cond_var = check_number("uncond_var", uncond_var, 0.0), check_number("cond_var", cond_var, 0.0)
        variance = input_variance(self.uncond_in_size, self.cond_in_size, uncond_var, cond_var)
        for norm in self.subnet.norms:
            nn.init.ones_(norm.scale)  # type: ignore[arg-type]
            nn.init.zeros_(norm.bias)  # type: ignore[arg-type]
            variance = 1.0
        init_hidden(weights[:-1], biases[:-1], use_xavier, generator)
        level = variance * weights[-1].shape[1]
        if self.subnet.sizes.skip:
            level += (uncond_var - variance) * self.uncond_in_size
        if level <= 0:
            raise value_error("uncond_var and cond_var", expected="a positive variance of the inputs", found="0")
        user = {"w_val": w_val, "w_var": w_var, "b_val": b_val, "b_var": b_var}
        apply_hyperfan((weights[-1], biases[-1]), level, targets, (method, use_xavier), user, generator)


class ChunkedHyperfan(ChunkedHypernetwork):
    """A chunked hypernetwork, a perceptron, with hyperfan initialization."""

    subnet: MLPSubnet

    def apply_chunked_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        eps: float = 1e-5,
        cemb_normal_init: bool = False,
        mnet: MainNetInterface | None = None,
        target_vars: PerTarget | None = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        r"""Initialize the hypernetwork such that each chunk of weights has a given target variance.

        One output head generates all chunks, so their variances are set through the chunk embeddings: with :math:`n`
        other inputs of variance :math:`u` and embeddings of size :math:`e`, a chunk of target variance :math:`v` gets
        an embedding of variance :math:`((n + e) v - n u) / e`. For a chunk with weights of several tensors, the target
        is the weighted mean of their variances. The target variance is :math:`1 / n_{in}`, :math:`1 / n_{out}` (twice
        that for Kaiming's rule) or their harmonic mean for weights, and :math:`1 / (3 n_{in})` for biases.

        Args:
            method: ``"in"``, ``"out"`` or ``"harmonic"``.
            use_xavier: use Xavier's rule instead of Kaiming's.
            uncond_var: variance of unconditional inputs.
            cond_var: variance of conditional inputs.
            eps: smallest variance of an embedding; a warning is logged if smaller ones are raised to it.
            cemb_normal_init: draw embeddings from a normal distribution instead of a uniform one.
            mnet: the main network, as in :meth:`HMLP.apply_hyperfan_init`.
            target_vars: target variances, a list with an entry (or None) for each target tensor, or a dict by their
                names. The default for other tensors than weights and biases is 1.
            generator: source of randomness.

        Raises:
            ValueError: for an unknown method, with batch norm, or if weights or embeddings are not parameters of the
                hypernetwork.
        """
        check_flags(use_xavier=use_xavier, cemb_normal_init=cemb_normal_init)
        weights, biases = _own_layers(self)
        if len(self.subnet.norms):
            raise value_error(
                "use_batch_norm",
                expected="False",
                got=True,
                hint="Batch norm removes the variance of chunk embeddings.",
            )
        conds: list[int | None] = [*range(self.num_known_conds)] if self.cond_chunk_embs else [None]
        embeddings = [self.get_chunk_emb(cond_id=cond) for cond in conds]
        targets = describe_targets(self.target_shapes, mnet)
        options = {
            "method": method,
            "use_xavier": use_xavier,
            "eps": eps,
            "cemb_normal_init": cemb_normal_init,
            "target_vars": target_vars,
        }
        variance = input_variance(
            self.uncond_in_size,
            self.cond_in_size,
            check_number("uncond_var", uncond_var, 0.0),
            check_number("cond_var", cond_var, 0.0),
        )
        inputs = (self.uncond_in_size + self.cond_in_size, variance)
        sizes = (self.subnet.sizes.out, self.num_outputs)
        apply_chunked_hyperfan(embeddings, sizes, inputs, targets, options, generator)
        init_hidden(weights, biases, use_xavier, generator)
