"""Training-time pseudo-outliers: inputs made from the current batch on which the network should be undecided."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor

from ...errors import check_number, value_error
from ...guides import BayesianModel
from ...inference.objective import OutputTerm

__all__ = ["NoiseOutliers", "OutlierTerm", "PatchOutliers", "PseudoOutliers"]


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
        super().__init__(weight)
        self.image_shape = tuple(image_shape) if image_shape is not None else None

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make the outliers; the kinds alternate within the batch, the cuts between its halves."""
        shape = self._as_images(x)
        split, source, foreign = _plan(shape, x.device)
        device = generator.device if generator is not None else x.device
        sizes = [size for size in (shape[0] - split, split) if size]
        orders = [torch.randperm(size, generator=generator, device=device) for size in sizes]
        orders[0] = orders[0] + split
        away = torch.cat(orders).to(x.device).unsqueeze(-1) * source.shape[1]
        return x.take(torch.addcmul(source, foreign, away)).reshape(x.shape)

    def _as_images(self, x: Tensor) -> tuple[int, int, int, int]:
        """The shape ``(N, C, H, W)`` as which inputs are read."""
        if x.ndim == 4:
            return (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        if x.ndim == 3:
            return (x.shape[0], 1, x.shape[1], x.shape[2])
        size = x[0].numel()
        side = round(size**0.5)
        shape = self.image_shape or ((side, side) if side * side == size else (size, 1))
        if shape[0] * shape[1] != size:
            raise value_error("image_shape", expected=f"(H, W) with H * W = {size}, the size of an input", got=shape)
        return (x.shape[0], 1, shape[0], shape[1])


@lru_cache(maxsize=8)
def _plan(shape: tuple[int, int, int, int], device: torch.device) -> tuple[int, Tensor, Tensor]:
    """How outliers are made of a batch of images ``shape``.

    Returns:
        How many images are cut along ``W`` (the first of the batch, the last of the outliers); for each pixel of each
        outlier the number ``(N, C*H*W)`` of the pixel that it shows; and 1 where an image's own number is to be added
        to that one, as any image of the part may show there, else 0.
    """
    pixels = torch.arange(math.prod(shape), device=device).view(shape)
    split = shape[0] // 2 if shape[-1] > 1 else 0
    parts = [_misassembled(pixels[split:])]
    if split:
        turned = _misassembled(pixels[:split].transpose(-1, -2))
        parts.append((turned[0].transpose(-1, -2), turned[1].transpose(-1, -2)))
    source, foreign = (torch.cat(side).flatten(1) for side in zip(*parts, strict=True))
    return split, torch.where(foreign == 1, source % source.shape[1], source), foreign


def _misassembled(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``(N, C, H, W)`` cut along ``H``: joined (as they are), mirrored and exchanged in turn, and a mask.

    The mask is 1 in those lower halves of which another image's is to be shown.
    """
    cut = images.shape[-2] // 2
    upper, lower = images[:, :, :cut], images[:, :, cut:]
    kind = (torch.arange(len(images), device=images.device) % 3).view(-1, 1, 1, 1)
    mirrored = torch.cat([upper.flip(-1), lower], dim=-2)
    exchanged = torch.cat([lower, upper], dim=-2)
    below = (torch.arange(images.shape[-2], device=images.device) >= cut).view(1, 1, -1, 1)
    foreign = ((kind == 0) & below).expand(images.shape)
    return torch.where(kind == 0, images, torch.where(kind == 1, mirrored, exchanged)), foreign.long()


class NoiseOutliers(PseudoOutliers):
    """Uniform inputs within the batch's range: a weak baseline on images, useful in low dimension.

    Args:
        weight: factor of the term in the loss.
        margin: how far the box exceeds the batch's range on either side, as a fraction of the range.
    """

    def __init__(self, weight: float = 1.0, margin: float = 0.0) -> None:
        super().__init__(weight)
        self.margin = check_number("margin", margin, minimum=0.0)

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw uniform inputs in the (widened) bounding box of the batch."""
        low, high = x.amin(dim=0), x.amax(dim=0)
        spread = (high - low) * self.margin
        device = generator.device if generator is not None else x.device
        u = torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)
        return low - spread + u * (high - low + 2 * spread)


class OutlierTerm(OutputTerm):
    """Cross-entropy to the uniform distribution on pseudo-outliers made from the batch, under the step's weights.

    Args:
        model: runs the network.
        outliers: makes the inputs and says what the term weighs.
        generator: of the making.
    """

    def __init__(
        self, model: BayesianModel, outliers: PseudoOutliers, generator: torch.Generator | None = None
    ) -> None:
        self.model = model
        self.outliers = outliers
        self.generator = generator

    def inputs(self, x: Tensor) -> Tensor:
        """As many pseudo-outliers as there are inputs ``x``."""
        return self.outliers.make(x, self.generator)

    def value(self, outputs: Tensor) -> Tensor:
        """The term, a scalar in per-example units, from outputs ``(S, K, C)`` at the pseudo-outliers."""
        return -self.outliers.weight * outputs.log_softmax(dim=-1).mean()

    def __call__(self, weights: Tensor, x: Tensor, y: Tensor, step: int) -> Tensor:
        """The term for weights ``(S, P)`` and the batch ``x``."""
        return self.value(self.model.outputs(weights, self.inputs(x)))
