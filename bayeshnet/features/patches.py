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


class PatchFilters(Features):
    r"""Responses of images to filters that are random patches of the first task's images.

    Patches :math:`p` are whitened, :math:`z = V (\Lambda + \epsilon \bar\lambda)^{-1/2} V^\top (p - \mu)` with the
    eigenvalues :math:`\Lambda` of their covariance and the mean :math:`\bar\lambda` of these. Filters :math:`f_k` are
    whitened patches of the first task with length 1. The response :math:`r_k = f_k^\top z` at each place of an image is
    rectified with both signs, :math:`\max(0, r_k - \alpha)` and :math:`\max(0, -r_k - \alpha)`, and averaged over the
    cells of a grid. The square roots of these :math:`D = 2 K g^2` averages, in which many weak responses and few strong
    ones are closer, are standardized over the first task.

    Args:
        num_filters: number :math:`K` of filters.
        patch_size: side of a patch in pixels.
        grid: number :math:`g` of cells along each side of the image.
        threshold: the number :math:`\alpha`.
        epsilon: the number :math:`\epsilon`, which keeps the whitening from raising what is noise.
        root: True for the square roots of averages, False for the averages.
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
        patch_size: int = 6,
        grid: int = 2,
        threshold: float = 0.25,
        epsilon: float = 0.1,
        root: bool = True,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.num_filters = check_size("num_filters", num_filters)
        self.patch_size = check_size("patch_size", patch_size)
        self.grid = check_size("grid", grid)
        self.threshold = check_number("threshold", threshold, minimum=0.0)
        self.epsilon = check_positive("epsilon", epsilon)
        check_flags(root=root)
        self.root = bool(root)
        self.image_shape = image_shape
        if image_shape is not None:
            check_sizes("image_shape", image_shape, count=3)

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build a map that has not been fitted."""
        return PatchMap(self, input_shape, layout)


class PatchMap(FeatureMap):
    """The map of :class:`PatchFilters`."""

    filters: Tensor
    bias: Tensor

    def __init__(self, settings: PatchFilters, input_shape: Sequence[int], layout: str | None) -> None:
        super().__init__(input_shape, check_total("num_filters", 2, settings.num_filters, settings.grid**2))
        self.layout, self.settings = layout, settings
        self.image = _image(settings.image_shape, self.input_shape, layout)
        height, width, channels = self.image
        side = settings.patch_size
        if side > min(height, width) or settings.grid > min(height, width) - side + 1:
            advice = "Patches, and the cells of the grid, must fit into the images."
            found = f"images of {height} x {width} pixels"
            expected = f"images with room for patches of {side} and a grid of {settings.grid}"
            raise value_error("x", expected=expected, found=found, hint=advice)
        check_total("num_filters", settings.num_filters, channels, side, side)
        self.register_buffer("filters", torch.zeros(settings.num_filters, channels, side, side))
        self.register_buffer("bias", torch.zeros(settings.num_filters))
        self.standardize = Standardize(self.num_features)

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Choose patches, whiten them and keep some as filters; then standardize the averages."""
        maps = self.maps(x)
        patches = _patches(maps, self.settings.patch_size, generator)
        mean = patches.mean(0)
        centered = patches - mean
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
        values = values.clamp_min(0)
        raised = values + self.settings.epsilon * values.mean() + torch.finfo(values.dtype).tiny
        whitening = (vectors * raised.rsqrt()) @ vectors.T
        chosen = centered[torch.arange(self.settings.num_filters, device=x.device) % len(centered)] @ whitening
        length = chosen.norm(dim=1, keepdim=True)
        filters = torch.where(length > 0, chosen / length, torch.zeros_like(chosen)) @ whitening
        filters = filters.nan_to_num(0.0, 0.0, 0.0)
        self.filters.copy_(filters.reshape(self.filters.shape))
        self.bias.copy_(-(filters @ mean))
        some = torch.randperm(len(x), generator=generator)[:_IMAGES].to(x.device)
        self.standardize.learn(torch.cat([self.averages(part) for part in x[some].split(500)]))

    def features(self, x: Tensor) -> Tensor:
        """Compute the standardized numbers."""
        return torch.cat([self.standardize(self.averages(part)) for part in x.split(500)]) if len(x) else self.empty(x)

    def empty(self, x: Tensor) -> Tensor:
        """Return the features of no input."""
        return self.bias.new_zeros(0, self.num_features)

    def averages(self, x: Tensor) -> Tensor:
        """Compute the averages over the cells, or their roots."""
        response = F.conv2d(self.maps(x), self.filters, self.bias)
        alpha, grid = self.settings.threshold, self.settings.grid
        signs = ((response - alpha).relu(), (-response - alpha).relu())
        averages = torch.cat([F.adaptive_avg_pool2d(r, grid) for r in signs], dim=1).flatten(1)
        return averages.sqrt() if self.settings.root else averages

    def maps(self, x: Tensor) -> Tensor:
        """Return images as maps ``(N, C, H, W)`` in the dtype of the filters."""
        layout = self.layout if self.layout is not None or len(self.input_shape) == 3 else "CHW"
        return to_maps(check_floats(x).to(self.filters.dtype), self.image, layout)


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
