"""Training-time pseudo-outliers: inputs made from the current batch on which the network should be undecided."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..errors import check_number, value_error

__all__ = ["NoiseOutliers", "PatchOutliers", "PseudoOutliers"]


class PseudoOutliers(ABC):
    r"""Makes inputs that resemble the task's but belong to no class, and says how much they weigh.

    The training loss gains
    :math:`\gamma \, \mathbb{E}_w \mathbb{E}_{\tilde x} [-\frac{1}{C} \sum_c \log p(c|\tilde x, w)]`, the cross-entropy
    to the uniform distribution, so that the predictive entropy is high off the task's data. Only the
    current task's batch is used: no example is stored.

    Args:
        weight: the factor :math:`\gamma` in per-example units.
    """

    def __init__(self, weight: float = 1.0) -> None:
        """Check the weight."""
        self.weight = check_number("weight", weight, minimum=0.0)

    @abstractmethod
    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make as many pseudo-outliers ``(N, *input_shape)`` as there are inputs ``x`` ``(N, *input_shape)``."""


class PatchOutliers(PseudoOutliers):
    """Images put together wrongly: halves of two images joined, one half mirrored, or the halves exchanged.

    Each image of a batch is cut into an upper and a lower half, or into a left and a right one, and becomes in turn
    *joined* (its first half before the second half of another image), *mirrored* (its first half flipped along the cut)
    or *exchanged* (its second half before its first). All keep the local statistics of images and lose their meaning.
    Flat inputs are read as square images when ``image_shape`` is not given and their size is a square, else as columns
    that can only be cut in one way; inputs ``(C, H, W)`` keep their channels.

    Args:
        weight: factor of the term in the loss.
        image_shape: ``(H, W)`` of flat inputs.

    Example:
        >>> PatchOutliers().make(torch.rand(6, 64)).shape
        torch.Size([6, 64])
    """

    def __init__(self, weight: float = 1.0, image_shape: tuple[int, int] | None = None) -> None:
        """Check the arguments."""
        super().__init__(weight)
        self.image_shape = tuple(image_shape) if image_shape is not None else None

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make the outliers; the kinds alternate within the batch, the cuts between its halves."""
        images = self._as_images(x)
        split = len(x) // 2 if images.shape[-1] > 1 else 0
        parts = [_misassemble(images[split:], generator)]
        if split:
            parts.append(_misassemble(images[:split].transpose(-1, -2), generator).transpose(-1, -2))
        return torch.cat(parts).reshape(x.shape)

    def _as_images(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return x
        if x.ndim == 3:
            return x.unsqueeze(1)
        flat = x.reshape(len(x), -1)
        side = round(flat.shape[1] ** 0.5)
        shape = self.image_shape or ((side, side) if side * side == flat.shape[1] else (flat.shape[1], 1))
        if shape[0] * shape[1] != flat.shape[1]:
            raise value_error("image_shape", f"(H, W) with H * W = {flat.shape[1]}, the size of an input", shape)
        return flat.reshape(len(x), 1, *shape)


def _misassemble(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Wrong images ``(N, C, H, W)``, cut along ``H``: joined, mirrored and exchanged in turn."""
    device = generator.device if generator is not None else images.device
    order = torch.randperm(len(images), generator=generator, device=device).to(images.device)
    cut = images.shape[-2] // 2
    upper, lower = images[:, :, :cut], images[:, :, cut:]
    kind = (torch.arange(len(images), device=images.device) % 3).view(-1, 1, 1, 1)
    joined = torch.cat([upper, lower[order]], dim=-2)
    mirrored = torch.cat([upper.flip(-1), lower], dim=-2)
    exchanged = torch.cat([lower, upper], dim=-2)
    return torch.where(kind == 0, joined, torch.where(kind == 1, mirrored, exchanged))


class NoiseOutliers(PseudoOutliers):
    """Uniform inputs within the batch's range: a weak baseline on images, useful in low dimension.

    Args:
        weight: factor of the term in the loss.
        margin: how far the box exceeds the batch's range on either side, as a fraction of the range.
    """

    def __init__(self, weight: float = 1.0, margin: float = 0.0) -> None:
        """Check the arguments."""
        super().__init__(weight)
        self.margin = check_number("margin", margin, minimum=0.0)

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw uniform inputs in the (widened) bounding box of the batch."""
        low, high = x.amin(dim=0), x.amax(dim=0)
        spread = (high - low) * self.margin
        device = generator.device if generator is not None else x.device
        u = torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)
        return low - spread + u * (high - low + 2 * spread)
