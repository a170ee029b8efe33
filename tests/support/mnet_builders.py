"""Small main networks of every class, in many variants, for tests of all main networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayeshnet.mnets import (
    MLP,
    WRN,
    FiLMAdapter,
    LeNet,
    LowRankAdapter,
    MainNetInterface,
    ModuleMainNet,
    ResNet,
    SimpleRNN,
    ZenkeNet,
)


@dataclass(frozen=True)
class Case:
    """Functions that build a network and inputs for it.

    ``stateful`` if a pass in training mode changes buffers; not ``pickled`` if it has parametrizations, which torch
    does not pickle.
    """

    name: str
    build: Callable[[], MainNetInterface]
    inputs: Callable[[], Tensor]
    stateful: bool = False
    pickled: bool = True

    def __str__(self) -> str:
        return self.name


class Block(nn.Module):
    """A residual block with batch norm."""

    def __init__(self, maps_in: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps_in, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if maps != maps_in:
            self.downsample = nn.Sequential(nn.Conv2d(maps_in, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class VisionResNet(nn.Module):
    """A residual network in the manner of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 6, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Tied(nn.Module):
    """A module whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.inner = nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, index: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(self.embed(index))))


class Head(nn.Module):
    """A recurrent network with a linear head, which returns one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    )


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


SMALL = {"in_shape": (6, 7, 2), "num_classes": 3, "num_feature_maps": (2, 3, 4, 5), "n": 1, "k": 1}
MODULATED = {"use_context_mod": True, "context_mod_inputs": True}
UNTRACKED = {"bn_track_stats": False, "no_weights": True}
AFTER = {"context_mod_post_activation": True}
OUTSIDE = {"no_weights": True, "context_mod_no_weights": True}


def _rows() -> Tensor:
    return torch.randn(5, 3)


def _images() -> Tensor:
    return torch.randn(4, 6 * 7 * 2)


def _sequences() -> Tensor:
    return torch.randn(4, 3, 2)


def _maps() -> Tensor:
    return torch.randn(3, 1, 6, 6)


def _colored() -> Tensor:
    return torch.randn(3, 3, 6, 6)


CASES = [
    Case("mlp", lambda: MLP(3, 2, (4, 5)), _rows),
    Case("mlp-linear", lambda: MLP(3, 2, (), use_bias=False), _rows),
    Case("mlp-outside", lambda: MLP(3, 2, (4, 5), no_weights=True, activation_fn=nn.Tanh()), _rows),
    Case("mlp-out-fn", lambda: MLP(3, 2, (4,), out_fn=torch.sigmoid), _rows),
    Case("mlp-norm", lambda: MLP(3, 2, (4, 5), use_batch_norm=True), _rows, stateful=True),
    Case("mlp-norm-outside", lambda: MLP(3, 2, (4,), use_batch_norm=True, **UNTRACKED), _rows),
    Case("mlp-mod", lambda: MLP(3, 2, (4, 5), **MODULATED), _rows),
    Case("mlp-mod-outside", lambda: MLP(3, 2, (4, 5), context_mod_no_weights=True, **MODULATED), _rows),
    Case("mlp-mod-inside", lambda: MLP(3, 2, (4,), no_weights=True, **AFTER, **MODULATED), _rows),
    Case("mlp-all-outside", lambda: MLP(3, 2, (4,), context_mod_gain_softplus=True, **MODULATED, **OUTSIDE), _rows),
    Case("mlp-spectral", lambda: MLP(3, 2, (4,), use_spectral_norm=True), _rows, stateful=True),
    Case("lenet", lambda: LeNet(arch="mnist_small", num_classes=4), lambda: torch.randn(2, 28, 28, 1)),
    Case(
        "lenet-pixels",
        lambda: LeNet(arch="mnist_small", context_mod_apply_pixel_wise=True, no_weights=True, **MODULATED),
        lambda: torch.randn(2, 784),
    ),
    Case("zenkenet", lambda: ZenkeNet(dropout_rate=-1), lambda: torch.randn(1, 3072)),
    Case("resnet", lambda: ResNet(**SMALL), _images, stateful=True),
    Case("resnet-plain-mod", lambda: ResNet(use_batch_norm=False, no_weights=True, **MODULATED, **SMALL), _images),
    Case("wrn", lambda: WRN(**SMALL, use_bias=False), _images, stateful=True),
    Case("wrn-outside", lambda: WRN(**SMALL, use_fc_bias=False, **UNTRACKED), _images),
    Case("rnn", lambda: SimpleRNN(2, (3,), (2,), (4, 1)), _sequences),
    Case("lstm-mod", lambda: SimpleRNN(2, (3, 2), fc_layers=(), use_lstm=True, **MODULATED), _sequences),
    Case("rnn-steps", lambda: SimpleRNN(2, (3,), context_mod_num_ts=4, **MODULATED, **OUTSIDE), _sequences),
    Case("module-conv", lambda: ModuleMainNet(convolutional()), _maps),
    Case("module-part", lambda: ModuleMainNet(convolutional(), select=["5.*", "0.weight"], train_rest=True), _maps),
    Case("module-resnet", lambda: ModuleMainNet(VisionResNet(), batch_norm="batch"), _colored),
    Case("module-resnet-eval", lambda: ModuleMainNet(VisionResNet(), batch_norm="eval"), _colored),
    Case("module-resnet-track", lambda: ModuleMainNet(VisionResNet(), None, "track"), _colored, True),
    Case("module-encoder", lambda: ModuleMainNet(encoder()), lambda: torch.randn(2, 3, 8)),
    Case("module-lstm", lambda: ModuleMainNet(Head()), lambda: torch.randn(4, 2, 3)),
    Case(
        "module-lstm-part",
        lambda: ModuleMainNet(Head(), select="*_hh_*", train_rest=True),
        lambda: torch.randn(4, 2, 3),
    ),
    Case("module-tied", lambda: ModuleMainNet(Tied()), lambda: torch.arange(5)),
    Case(
        "module-lora",
        lambda: ModuleMainNet(convolutional(), adapter=LowRankAdapter(), train_rest=True),
        _maps,
        pickled=False,
    ),
    Case(
        "module-film",
        lambda: ModuleMainNet(VisionResNet(), "fc.*", "eval", adapter=FiLMAdapter(), train_rest=True),
        _colored,
        pickled=False,
    ),
    Case("module-weight-norm", lambda: ModuleMainNet(weight_normed()), _rows, pickled=False),
]


def draw(net: MainNetInterface, samples: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    """Flat weights for ``net``, moderate enough for all nonlinearities."""
    spec = net.weight_spec
    whitening = spec.whitening(dtype=dtype)
    shape = (spec.numel,) if samples is None else (samples, spec.numel)
    return whitening.loc + whitening.scale * torch.randn(shape, dtype=dtype)


def first(outputs: object) -> Tensor:
    """The tensor of outputs that may be a tuple."""
    return outputs[0] if isinstance(outputs, tuple) else outputs  # type: ignore[return-value]
