"""Outlier exposure: inputs made from the current batch on which the network is trained to be undecided."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import check_number, check_sizes, type_error, value_error
from ...inference import AddedLoss, StepContext
from ...representation import Settings

__all__ = ["NoiseOutliers", "OutlierExposure", "PatchOutliers", "PseudoOutliers", "uniform_cross_entropy"]


class PseudoOutliers(Settings, ABC):
    r"""A maker of inputs that resemble the task's but belong to no class, with their weight in the loss.

    The training loss gains
    :math:`\gamma \, \mathbb{E}_w \mathbb{E}_{\tilde x} [-\frac{1}{C} \sum_c \log p(c|\tilde x, w)]`, the cross-entropy
    to the uniform distribution, so that the predictive entropy is high away from the task's data. Only the current
    task's batch is used: no example is stored.

    Args:
        weight: the factor :math:`\gamma`, in the loss per example.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = check_number("weight", weight, minimum=0.0)

    @abstractmethod
    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make as many pseudo-outliers ``(N, *input_shape)`` as there are inputs ``x`` ``(N, *input_shape)``."""


class PatchOutliers(PseudoOutliers):
    """Wrongly assembled images: halves of two images joined, one half mirrored, or the halves exchanged.

    Each image of a batch is cut into an upper and a lower half, or into a left and a right one. In turn the result is
    *joined* (its first half with the second half of another image), *mirrored* (its first half flipped along the cut)
    or *exchanged* (its second half before its first). All keep the local statistics of images and lose their meaning.
    Flat inputs are read as square images if ``image_shape`` is not given and their size is a square, else as columns,
    which are cut in one way only; inputs ``(C, H, W)`` keep their channels.

    Args:
        weight: factor of the loss.
        image_shape: ``(H, W)`` of flat inputs.

    Example:
        >>> PatchOutliers().make(torch.rand(6, 64)).shape
        torch.Size([6, 64])
    """

    def __init__(self, weight: float = 1.0, image_shape: tuple[int, int] | None = None) -> None:
        super().__init__(weight)
        self.image_shape = None if image_shape is None else tuple(check_sizes("image_shape", image_shape, count=2))

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make the outliers; their kinds alternate within the batch, and each half of it is cut along another axis."""
        shape = self._as_images(x)
        split, source, other = _plan(shape, x.device)
        device = generator.device if generator is not None else x.device
        sizes = [size for size in (shape[0] - split, split) if size]
        orders = [torch.randperm(size, generator=generator, device=device) for size in sizes]
        orders[0] = orders[0] + split
        away = torch.cat(orders).to(x.device).unsqueeze(-1) * source.shape[1]
        return x.take(torch.addcmul(source, other, away)).reshape(x.shape)

    def _as_images(self, x: Tensor) -> tuple[int, int, int, int]:
        """Return the shape ``(N, C, H, W)`` as which inputs are read."""
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
    """Plan the outliers of a batch of images ``(N, C, H, W)``.

    Returns:
        The number of images that are cut along ``W`` (the first of the batch, the last of the outliers); the index
        ``(N, C*H*W)`` of the source pixel of each pixel; and 1 where that pixel is taken from another image, whose
        offset is then to be added to the index, else 0.
    """
    pixels = torch.arange(math.prod(shape), device=device).view(shape)
    split = shape[0] // 2 if shape[-1] > 1 else 0
    parts = [_misassembled(pixels[split:])]
    if split:
        turned = _misassembled(pixels[:split].transpose(-1, -2))
        parts.append((turned[0].transpose(-1, -2), turned[1].transpose(-1, -2)))
    source, other = (torch.cat(side).flatten(1) for side in zip(*parts, strict=True))
    return split, torch.where(other == 1, source % source.shape[1], source), other


def _misassembled(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return images ``(N, C, H, W)`` cut along ``H``, mirrored and exchanged, and a mask.

    Of each three images the first is left as it is, to be joined with another one: the mask is 1 in its lower half.
    """
    cut = images.shape[-2] // 2
    upper, lower = images[:, :, :cut], images[:, :, cut:]
    kind = (torch.arange(len(images), device=images.device) % 3).view(-1, 1, 1, 1)
    mirrored = torch.cat([upper.flip(-1), lower], dim=-2)
    exchanged = torch.cat([lower, upper], dim=-2)
    below = (torch.arange(images.shape[-2], device=images.device) >= cut).view(1, 1, -1, 1)
    other = ((kind == 0) & below).expand(images.shape)
    return torch.where(kind == 0, images, torch.where(kind == 1, mirrored, exchanged)), other.long()


class NoiseOutliers(PseudoOutliers):
    """Uniform inputs within the batch's range: a weak baseline on images, useful in low dimension.

    Args:
        weight: factor of the loss.
        margin: width added to the batch's range on either side, as a fraction of the range.
    """

    def __init__(self, weight: float = 1.0, margin: float = 0.0) -> None:
        super().__init__(weight)
        self.margin = check_number("margin", margin, minimum=0.0)

    def make(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw uniform inputs in the (widened) bounding box of the batch."""
        low, high = x.amin(dim=0), x.amax(dim=0)
        extra = (high - low) * self.margin
        device = generator.device if generator is not None else x.device
        u = torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)
        return low - extra + u * (high - low + 2 * extra)


class OutlierExposure(AddedLoss):
    """Cross-entropy to the uniform distribution on pseudo-outliers made from the batch, under the step's weights.

    Args:
        outliers: makes the inputs and has the weight of the loss.
        generator: of the making.
        layout: ``"HWC"`` for images whose channels come last; outliers are made of images ``(C, H, W)``.
    """

    joins_batch: ClassVar[bool] = True

    def __init__(
        self, outliers: PseudoOutliers, generator: torch.Generator | None = None, layout: str | None = None
    ) -> None:
        self.outliers = outliers
        self.generator = generator
        self.layout = layout

    def __call__(self, context: StepContext) -> Tensor:
        """Compute the loss, a scalar in nats per example, on as many pseudo-outliers as the batch has inputs."""
        if not isinstance(context.x, Tensor) or not context.x.is_floating_point():
            advice = "Leave outliers out for tokens, and for several inputs."
            raise type_error("outliers", expected="None, or floating inputs in one tensor", got=context.x, hint=advice)
        last = self.layout == "HWC" and context.x.ndim == 4
        x = context.whole_x
        made = context.own(self.outliers.make(x.movedim(-1, 1) if last else x, self.generator))
        outputs = context.outputs(made.movedim(1, -1) if last else made)
        return self.outliers.weight * context.weight * uniform_cross_entropy(outputs)


def uniform_cross_entropy(outputs: Tensor) -> Tensor:
    r"""Compute the mean of :math:`-\frac{1}{C} \sum_c \log p(c)` over logits ``(*B, C)``: ``()``, in nats."""
    return -outputs.log_softmax(dim=min(2, outputs.ndim - 1)).mean()
