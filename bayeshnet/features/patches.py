"""Filters that are patches of images: whitened, matched everywhere, rectified with both signs, pooled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import check_flags, check_number, check_positive, check_size, check_sizes, value_error
from ..mnets.parts.images import to_maps
from .base import FeatureMap, Features, check_floats, check_total
from .scaling import Standardize

__all__ = ["PatchFilters"]

_FLAT = 0.05
_PATCHES, _IMAGES = 20_000, 5_000
_RESPONSES = 2**19  # computed at a time, so that they stay in the processor's cache


class PatchFilters(Features):
    r"""Responses of images to filters that are random patches of the first task's images.

    Patches :math:`p` are whitened, :math:`z = V (\Lambda + \epsilon \bar\lambda)^{-1/2} V^\top (p - \mu)` with the
    eigenvalues :math:`\Lambda` of their covariance and the mean :math:`\bar\lambda` of these. Filters :math:`f_k` are
    whitened patches of the first task with length 1. The response :math:`r_k = f_k^\top z` at each place of an image is
    rectified with both signs, :math:`\max(0, r_k - \alpha)` and :math:`\max(0, -r_k - \alpha)`, and averaged over the
    cells of a grid. The square roots of these :math:`D = 2 K g^2` averages, in which many weak responses and few strong
    ones are closer, are standardized over the first task. With ``mirror`` they are averages over an image and its
    mirror image, which then have the same features.

    Args:
        num_filters: number :math:`K` of filters.
        patch_size: side of a patch in pixels, or several sides, which share the filters as evenly as they can.
        grid: number :math:`g` of cells along each side of the image.
        threshold: the number :math:`\alpha`.
        epsilon: the number :math:`\epsilon`, which keeps the whitening from raising what is noise.
        root: True for the square roots of averages, False for the averages.
        mirror: True for images whose classes do not depend on left and right, which costs a second pass over the image.
        image_shape: ``(channels, height, width)`` of flattened images; inputs with three dimensions say it themselves.

    References:
        An Analysis of Single-Layer Networks in Unsupervised Feature Learning (Coates, Lee, Ng; 2011); The Importance of
        Encoding Versus Training with Sparse Coding and Vector Quantization (Coates, Ng; 2011).

    Example:
        >>> x = torch.rand(20, 1, 12, 12)
        >>> PatchFilters(10, grid=2).fit(x)(x).shape
        torch.Size([20, 80])
    """

    def __init__(
        self,
        num_filters: int = 100,
        *,
        patch_size: int | Sequence[int] = 6,
        grid: int = 2,
        threshold: float = 0.25,
        epsilon: float = 0.1,
        root: bool = True,
        mirror: bool = False,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.num_filters = check_size("num_filters", num_filters)
        several = isinstance(patch_size, (list, tuple))
        self.patch_size = check_sizes("patch_size", patch_size) if several else check_size("patch_size", patch_size)
        if len(self.sides) > self.num_filters:
            expected = f"at most {self.num_filters} sides, one filter each"
            raise value_error("patch_size", expected=expected, got=patch_size)
        self.grid = check_size("grid", grid)
        self.threshold = check_number("threshold", threshold, minimum=0.0)
        self.epsilon = check_positive("epsilon", epsilon)
        check_flags(root=root, mirror=mirror)
        self.root, self.mirror = bool(root), bool(mirror)
        self.image_shape = image_shape
        if image_shape is not None:
            check_sizes("image_shape", image_shape, count=3)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the patches."""
        return (self.patch_size,) if isinstance(self.patch_size, int) else tuple(self.patch_size)

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build a map that has not been fitted."""
        return PatchMap(self, input_shape, layout)


class PatchMap(FeatureMap):
    """The map of :class:`PatchFilters`."""

    def __init__(self, settings: PatchFilters, input_shape: Sequence[int], layout: str | None) -> None:
        super().__init__(input_shape, check_total("num_filters", 2, settings.num_filters, settings.grid**2))
        self.layout, self.settings = layout, settings
        self.image = _image(settings.image_shape, self.input_shape, layout)
        height, width, channels = self.image
        side = max(settings.sides)
        if side > min(height, width) or settings.grid > min(height, width) - side + 1:
            advice = "Patches, and the cells of the grid, must fit into the images."
            found = f"images of {height} x {width} pixels"
            expected = f"images with room for patches of {side} and a grid of {settings.grid}"
            raise value_error("x", expected=expected, found=found, hint=advice)
        check_total("num_filters", settings.num_filters, channels, side, side)
        whole, rest = divmod(settings.num_filters, len(settings.sides))
        for number, own in enumerate(settings.sides):
            count = whole + (number < rest)
            self.register_buffer(_name("filters", number), torch.zeros(count, channels, own, own))
            self.register_buffer(_name("bias", number), torch.zeros(count))
        self.standardize = Standardize(self.num_features)

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Choose patches, whiten them and keep some as filters; then standardize the averages."""
        maps = self.maps(x)
        for number in range(len(self.settings.sides)):
            filters, bias = (self.get_buffer(_name(name, number)) for name in ("filters", "bias"))
            patches = _patches(maps, filters.shape[-1], generator)
            chosen, offsets = _whitened(patches, len(filters), self.settings.epsilon)
            filters.copy_(chosen.reshape(filters.shape))
            bias.copy_(offsets)
        some = torch.randperm(len(x), generator=generator)[:_IMAGES].to(x.device)
        self.standardize.learn(self.averages(x[some]))

    def features(self, x: Tensor) -> Tensor:
        """Compute the standardized numbers."""
        return self.standardize(self.averages(x))

    def averages(self, x: Tensor) -> Tensor:
        """Compute the averages over the cells, or their roots."""
        maps, found = self.maps(x), []
        if self.settings.mirror and len(x):
            maps = torch.stack([maps, maps.flip(-1)], 1).flatten(0, 1)
        for number in range(len(self.settings.sides)):
            filters, bias = (self.get_buffer(_name(name, number)) for name in ("filters", "bias"))
            height, width = (size - filters.shape[-1] + 1 for size in maps.shape[-2:])
            pairs = max(1, _RESPONSES // (2 * len(filters) * height * width))
            parts = maps.split(2 * pairs) if len(x) else (maps,)
            found.append(torch.cat([self.pooled(part, filters, bias) for part in parts]))
        averages = torch.cat(found, dim=1)
        return averages.sqrt() if self.settings.root else averages

    def pooled(self, maps: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
        """Compute the averages over the cells for the filters of one size."""
        alpha, grid = self.settings.threshold, self.settings.grid
        if not len(maps):
            return bias.new_zeros(0, 2 * len(filters) * grid**2)
        response = F.conv2d(maps, filters, bias)
        signs = ((response - alpha).relu_(), (-response - alpha).relu_())
        averages = torch.cat([F.adaptive_avg_pool2d(r, grid) for r in signs], dim=1).flatten(1)
        return averages.unflatten(0, (-1, 2)).mean(1) if self.settings.mirror else averages

    def maps(self, x: Tensor) -> Tensor:
        """Return images as maps ``(N, C, H, W)`` in the dtype of the filters."""
        layout = self.layout if self.layout is not None or len(self.input_shape) == 3 else "CHW"
        return to_maps(check_floats(x).to(self.standardize.mean.dtype), self.image, layout)


def _name(buffer: str, number: int) -> str:
    """Return the name of a buffer of the filters of a size; those of the first have none."""
    return f"{buffer}{number or ''}"


def _whitened(patches: Tensor, count: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return filters ``(count, size)`` for patches ``(n, size)`` that are not whitened, and their offsets."""
    mean = patches.mean(0)
    centered = patches - mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
    values = values.clamp_min(0)
    raised = values + epsilon * values.mean() + torch.finfo(values.dtype).tiny
    whitening = (vectors * raised.rsqrt()) @ vectors.T
    chosen = centered[torch.arange(count, device=patches.device) % len(centered)] @ whitening
    length = chosen.norm(dim=1, keepdim=True)
    filters = torch.where(length > 0, chosen / length, torch.zeros_like(chosen)) @ whitening
    filters = filters.nan_to_num(0.0, 0.0, 0.0)
    return filters, -(filters @ mean)


def _image(shape: Sequence[int] | None, input_shape: tuple[int, ...], layout: str | None) -> tuple[int, int, int]:
    """Return height, width and channels of inputs."""
    if shape is not None:
        channels, height, width = shape
        return height, width, channels
    if len(input_shape) == 3:
        first, second, third = input_shape
        return (first, second, third) if layout == "HWC" else (second, third, first)
    advice = "Pass PatchFilters(image_shape=(channels, height, width)) for flattened images."
    raise value_error("x", expected="images of three dimensions", found=f"inputs {input_shape}", hint=advice)


def _patches(maps: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Draw patches ``(n, C * side * side)`` that are not flat; all that were drawn if all are flat."""
    count, _, height, width = maps.shape
    image = torch.randint(count, (_PATCHES,), generator=generator)
    row = torch.randint(height - side + 1, (_PATCHES,), generator=generator)
    column = torch.randint(width - side + 1, (_PATCHES,), generator=generator)
    views = maps.unfold(2, side, 1).unfold(3, side, 1)
    drawn = views[image.to(maps.device), :, row.to(maps.device), column.to(maps.device)].flatten(1)
    std = drawn.std(1, correction=0)
    varied = drawn[std > _FLAT * std.max()]
    return varied if len(varied) > 1 else drawn
