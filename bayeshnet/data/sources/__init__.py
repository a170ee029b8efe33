"""Sources of examples that stay where they are: rows, arrays on disk, folders of images, Avalanche benchmarks."""

from .avalanche import from_avalanche
from .folders import FolderImages, image_folder
from .rows import ArrayRows, DictRows

__all__ = ["ArrayRows", "DictRows", "FolderImages", "from_avalanche", "image_folder"]
