"""Where the tests find real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["fashion_folder"]


def fashion_folder() -> Path:
    """Folder of the Fashion-MNIST files: BAYESHNET_FASHION_MNIST, or where Debian's package puts them; else skip."""
    folder = Path(os.environ.get("BAYESHNET_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is not here: set BAYESHNET_FASHION_MNIST, or install dataset-fashion-mnist")
    return folder
