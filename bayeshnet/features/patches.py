"""Filters that are patches of images: whitened, matched everywhere, rectified with both signs, pooled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import check_flags, check_number, check_positive, check_size, check_sizes, value_error
from ..mnets.parts.images import to_maps
from .base import FeatureMap, Features, check_floats, check_total
from .patch_bank import draw_patches, learn_filters, normalize_patches
from .scaling import Standardize

__all__ = ["PatchFilters"]

_IMAGES = 5_000
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

    With a ``contrast`` :math:`\gamma` each patch is first divided by what it varies:
    :math:`(p - \bar p) / \sqrt{v(p) + \gamma \bar v}` stands for :math:`p`, with mean and variance over the pixels of
    the patch and the mean :math:`\bar v` of the variances of the first task's patches, so that weak edges and strong
    ones give similar responses.

    Args:
        num_filters: number :math:`K` of filters.
        patch_size: side of a patch in pixels, or several sides, which share the filters as evenly as they can.
        grid: number :math:`g` of cells along each side of the image.
        threshold: the number :math:`\alpha`.
        epsilon: the number :math:`\epsilon`, which keeps the whitening from raising what is noise.
        root: True for the square roots of averages, False for the averages.
        mirror: True for images whose classes do not depend on left and right, which costs a second pass over the image.
        contrast: the number :math:`\gamma`; None for patches as they are.
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
        contrast: float | None = None,
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
        self.contrast = None if contrast is None else check_positive("contrast", contrast)
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
            if settings.contrast is not None:
                self.register_buffer(_name("least_variance", number), torch.ones(()))
        self.standardize = Standardize(self.num_features)

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Choose patches, whiten them and keep some as filters; then standardize the averages."""
        maps = self.maps(x)
        for number in range(len(self.settings.sides)):
            filters, bias = (self.get_buffer(_name(name, number)) for name in ("filters", "bias"))
            patches = draw_patches(maps, filters.shape[-1], generator)
            if self.settings.contrast is not None:
                patches, floor = normalize_patches(patches, self.settings.contrast)
                self.get_buffer(_name("least_variance", number)).copy_(floor)
            chosen, offsets = learn_filters(patches, len(filters), self.settings.epsilon)
            filters.copy_(chosen.reshape(filters.shape))
            bias.copy_(offsets)
        some = torch.randperm(len(x), generator=generator)[:_IMAGES].to(x.device)
        self.standardize.learn(self.averages(x[some]))

    def features(self, x: Tensor) -> Tensor:
        """Compute the standardized numbers."""
        found: Tensor = self.standardize(self.averages(x))
        return found

    def averages(self, x: Tensor) -> Tensor:
        """Compute the averages over the cells, or their roots."""
        maps = self.maps(x)
        averages = torch.cat([self.averages_of(number, maps) for number in range(len(self.settings.sides))], dim=1)
        return averages.sqrt_() if self.settings.root else averages

    def averages_of(self, number: int, maps: Tensor) -> Tensor:
        """Compute the averages over the cells for the filters of one size.

        The mirror image has the responses of the image to mirrored filters, in mirrored places.
        """
        grid, (filters, bias) = self.settings.grid, (self.get_buffer(_name(n, number)) for n in ("filters", "bias"))
        count, sides = len(filters), [size - filters.shape[-1] + 1 for size in maps.shape[-2:]]
        cells = torch.kron(*(F.adaptive_avg_pool1d(torch.eye(n).to(filters), grid) for n in sides))
        if self.settings.mirror:
            filters, bias = torch.cat([filters, filters.flip(-1)]), torch.cat([bias, bias])
        parts = maps.split(max(1, _RESPONSES // (len(filters) * sides[0] * sides[1]))) if len(maps) else (maps,)
        found = torch.cat([self.pooled(part, filters, bias, self.added_variance(number), cells) for part in parts])
        pooled = found.reshape(len(found), 2, 1 + self.settings.mirror, count, grid, grid)
        if self.settings.mirror:
            return (pooled[:, :, 0] + pooled[:, :, 1].flip(-1)).div_(2).flatten(1)
        return pooled.flatten(1)

    def pooled(self, maps: Tensor, filters: Tensor, bias: Tensor, floor: Tensor | None, cells: Tensor) -> Tensor:
        """Compute the averages ``(N, 2 K, cells)`` of rectified responses, the first sign before the other."""
        alpha = self.settings.threshold
        if floor is None:
            above = F.conv2d(maps, filters, bias - alpha)
        else:
            maps = maps - maps.mean((1, 2, 3), keepdim=True)  # changes nothing but errors of rounding
            mean, square = (F.avg_pool2d(m.mean(1, keepdim=True), filters.shape[-1], 1) for m in (maps, maps.square()))
            scale = (square - mean.square()).clamp_min_(0).add_(floor).rsqrt_()
            above = torch.addcmul((bias - alpha)[:, None, None], F.conv2d(maps, filters), scale)
        above = above.flatten(2)
        below = torch.rsub(above, -2 * alpha).relu_()
        return torch.cat([above.relu_() @ cells, below @ cells], dim=1)

    def added_variance(self, number: int) -> Tensor | None:
        """Return the variance that is added to those of patches of one size; None if these stay as they are."""
        return None if self.settings.contrast is None else self.get_buffer(_name("least_variance", number))

    def maps(self, x: Tensor) -> Tensor:
        """Return images as maps ``(N, C, H, W)`` in the dtype of the filters."""
        layout = self.layout if self.layout is not None or len(self.input_shape) == 3 else "CHW"
        return to_maps(check_floats(x).to(self.standardize.mean.dtype), self.image, layout)


def _name(buffer: str, number: int) -> str:
    """Return the name of a buffer of the filters of a size; those of the first have none."""
    return f"{buffer}{number or ''}"


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
