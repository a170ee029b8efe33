"""The hypernetworks of a container: checks of their sizes, and the inputs and weights of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...errors import type_error, value_error
from ..hnet_interface import HyperNetInterface
from ..parts.arguments import check_input
from ..parts.resolved_weights import ResolvedWeights

__all__ = ["Members"]


class Members:
    """The hypernetworks of a container.

    Args:
        hnets: the hypernetworks, or None.
    """

    def __init__(self, hnets: Sequence[HyperNetInterface] | None) -> None:
        if hnets is not None and not isinstance(hnets, (list, tuple)):
            raise type_error("hnets", expected="a list of hypernetworks", got=hnets)
        for hnet in hnets or ():
            if not isinstance(hnet, HyperNetInterface):
                raise type_error("hnets", expected="a list of hypernetworks (HyperNetInterface)", got=hnet)
        self.hnets = list(hnets or ())
        self.uncond_in_size = self._common("uncond_in_size")
        self.cond_in_size = self._common("cond_in_size")

    def _common(self, name: str) -> int:
        """Return the size ``name`` of those hypernetworks for which it is not 0; it must be the same."""
        sizes = {getattr(hnet, name) for hnet in self.hnets} - {0}
        if len(sizes) > 1:
            raise value_error("hnets", expected=f"hypernetworks with the same {name} (or 0)", found=f"{sorted(sizes)}")
        return sizes.pop() if sizes else 0

    def num_conds(self, own: int | None) -> int:
        """Return the common number of conditions of the hypernetworks that have any and, unless None, ``own``."""
        counts = {hnet.num_known_conds for hnet in self.hnets} - {0}
        if own is not None:
            counts.add(own)
        if len(counts) > 1:
            raise value_error(
                "hnets",
                expected="hypernetworks and num_cond_embs with the same number of conditions",
                found=f"{sorted(counts)}",
            )
        if own == 0:
            raise value_error("num_cond_embs", expected="at least one condition with cond_param_shapes", got=0)
        return counts.pop() if counts else 0

    def check_inputs(self, uncond_input: Any, cond_input: Any, latent: bool = True) -> None:
        """Check the shapes of the inputs; refuse inputs that no hypernetwork takes."""
        if latent:
            check_input("uncond_input", uncond_input, self.uncond_in_size, "uncond_in_size")
        if cond_input is not None:
            check_input("cond_input", cond_input, self.cond_in_size, "cond_in_size")

    def inputs(self, i: int, uncond_input: Any, cond_input: Any, cond_id: Any) -> dict[str, Any]:
        """Return the inputs of hypernetwork ``i``, without those that it does not take."""
        hnet, inputs = self.hnets[i], {}
        if hnet.uncond_in_size:
            inputs["uncond_input"] = uncond_input
        if cond_input is not None:
            if hnet.cond_in_size:
                inputs["cond_input"] = cond_input
        elif hnet.num_known_conds:
            inputs["cond_id"] = cond_id
        return inputs

    def divide(
        self, resolved: ResolvedWeights
    ) -> tuple[list[dict[str, Any] | None], list[Tensor], list[Tensor | None]]:
        """Divide the tensors of a container into ``weights`` of each hypernetwork, and its own tensors.

        Returns:
            ``weights`` of each hypernetwork, own tensors common to all conditions, own tensors of conditions.
        """
        extra = resolved.extra.get("hnets")
        if extra is not None and not (
            isinstance(extra, (list, tuple))
            and len(extra) == len(self.hnets)
            and all(more is None or isinstance(more, Mapping) for more in extra)
        ):
            raise value_error("weights['hnets']", expected=f"a list of {len(self.hnets)} dicts", got=extra)
        inner: list[dict[str, Any] | None] = []
        uncond, cond = list(resolved.uncond), list(resolved.cond)
        for i, hnet in enumerate(self.hnets):
            u, c = len(hnet._ledger.unconditional), len(hnet._ledger.conditional)
            mine: dict[str, Any] = {"uncond_weights": uncond[:u]} if u else {}
            if c and all(tensor is not None for tensor in cond[:c]):
                mine["cond_weights"] = cond[:c]
            uncond, cond = uncond[u:], cond[c:]
            more = {} if extra is None or extra[i] is None else dict(extra[i])
            if set(more) & set(mine):
                raise value_error(
                    f"weights['hnets'][{i}]",
                    expected="only keys beside uncond_weights and cond_weights",
                    found=f"{sorted(more)}",
                )
            inner.append({**mine, **more} or None)
        return inner, uncond, cond
