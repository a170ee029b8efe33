"""Layouts of images: data say theirs, networks check it, and what fits torch works."""

import copy

import pytest
import torch
from torch import nn

from bayeshnet.builders import ConvNetwork, DiracGenerator, MLPNetwork, NetworkBuilder, PointWeights
from bayeshnet.continual import (
    DensitySettings,
    FineTuning,
    PatchOutliers,
    PosteriorReplay,
    Separate,
    SharedHead,
    Training,
)
from bayeshnet.continual.task_inference.image_features import ImageFeatures
from bayeshnet.data import from_arrays, get_stream, rotated, split_digits
from bayeshnet.distributions import FanInGaussian
from bayeshnet.functional import batched_forward
from bayeshnet.guides import BayesianModel, Categorical, MeanFieldGuide
from bayeshnet.inference import Predictive, fit
from bayeshnet.mnets import MLP, WRN, LeNet, ResNet, ZenkeNet
from bayeshnet.mnets.parts.images import to_maps
from bayeshnet.tasks import Split, Task, TaskStream

D = torch.float64
MAPS = {"n": 1, "num_feature_maps": (2, 3, 4, 5), "num_classes": 3, "verbose": False}
NETWORKS = {
    "ResNet": lambda **options: ResNet((8, 6, 3), **MAPS, **options),
    "WRN": lambda **options: WRN((8, 6, 3), k=1, **MAPS, **options),
    "LeNet": lambda **options: LeNet(arch="mnist_small", verbose=False, **options),
    "LeNet of colors": lambda **options: LeNet((32, 32, 3), arch="cifar", verbose=False, **options),
    "ZenkeNet": lambda **options: ZenkeNet(verbose=False, **options),
}


def pair(name, **options):
    """A network in evaluation mode, and images (N, H, W, C) for it."""
    torch.manual_seed(0)
    net = NETWORKS[name](**options).double().eval()
    return net, torch.randn(2, *net._in_shape, dtype=D)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_layouts_give_the_same_outputs_where_the_layout_is_open(name):
    net, x = pair(name)
    first = x.permute(0, 3, 1, 2).contiguous()
    expected = net(x)
    torch.testing.assert_close(net(first), expected)
    torch.testing.assert_close(net(x.flatten(1)), expected)
    assert net.layout is None
    w = net.weight_spec.flatten(list(net.internal_params)).expand(3, -1)
    for images in (x, first, x.flatten(1)):
        torch.testing.assert_close(batched_forward(net, w, images)[1], expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_chosen_layout_is_the_only_one_taken(name):
    open_net, x = pair(name)
    first = x.permute(0, 3, 1, 2).contiguous()
    expected = open_net(x)
    for layout, right, wrong in (("HWC", x, first), ("CHW", first, x)):
        net, _ = pair(name, layout=layout)
        net.load_state_dict(open_net.state_dict())
        torch.testing.assert_close(net(right), expected)
        torch.testing.assert_close(net(right.flatten(1)), expected)
        with pytest.raises(ValueError, match=rf"x: expected a tensor of shape \(any, .*The layout is '{layout}'"):
            net(wrong)
        w = net.weight_spec.flatten(list(net.internal_params)).expand(4, -1)
        with pytest.raises(ValueError, match="x: expected a tensor of shape"):
            batched_forward(net, w, wrong)
        assert net.layout == layout
        assert f"layout='{layout}'" in repr(net)


@pytest.mark.parametrize("layout", ["NHWC", 3, "chw"])
def test_unknown_layouts_are_refused(layout):
    with pytest.raises(ValueError, match="layout: expected one of 'HWC', 'CHW'"):
        ResNet((8, 6, 3), layout=layout, **MAPS)
    with pytest.raises(ValueError, match="layout: expected one of 'HWC', 'CHW'"):
        ConvNetwork(layout=layout)


def test_other_shapes_are_refused_also_if_the_number_of_entries_agrees():
    net, x = pair("ResNet")
    for wrong in (x.permute(0, 2, 1, 3), x.reshape(2, 12, 12), x.reshape(2, 1, 144), x[0], x.unsqueeze(1), x[:, :4]):
        with pytest.raises(ValueError, match=r"x: expected images \(8, 6, 3\) or \(3, 8, 6\), flattened or not, got"):
            net(wrong)
    for several in ((x, x), [x], None, {"x": x}):
        with pytest.raises(TypeError, match="x: expected images in one tensor, got"):
            net(several)
    gray = torch.randn(2, 28, 28, dtype=D)
    lenet, _ = pair("LeNet")
    torch.testing.assert_close(lenet(gray), lenet(gray.unsqueeze(1)))


def test_images_that_fit_both_layouts_are_read_as_documented():
    x = torch.randn(2, 4, 4, 4)
    assert torch.equal(to_maps(x, (4, 4, 4)), x.permute(0, 3, 1, 2))
    assert torch.equal(to_maps(x, (4, 4, 4), "CHW"), x)
    assert torch.equal(to_maps(x, (4, 4, 4), "HWC"), x.permute(0, 3, 1, 2))


def test_two_names_of_one_choice():
    assert WRN((8, 6, 3), k=1, chw_input_format=True, **MAPS).layout == "CHW"
    assert WRN((8, 6, 3), k=1, chw_input_format=True, layout="CHW", **MAPS).layout == "CHW"
    with pytest.raises(ValueError, match="layout: expected a network for the layout 'CHW'"):
        WRN((8, 6, 3), k=1, chw_input_format=True, layout="HWC", **MAPS)


def test_a_wrong_width_of_inputs_is_named():
    net, x = MLP(3, 2, no_weights=True, verbose=False), torch.zeros(5, 4)
    w = torch.zeros(4, net.weight_spec.numel)
    with pytest.raises(
        ValueError, match=r"x: expected a tensor of shape \(\.\.\., 3\), got a tensor of shape \(5, 4\)"
    ):
        batched_forward(net, w, x)
    guide = MeanFieldGuide(net)
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(\.\.\., 3\)"):
        Predictive(guide, net, Categorical(), 4)(x)
    model = BayesianModel(net, FanInGaussian(net.weight_spec), Categorical())
    for local_noise in (False, True):
        with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(\.\.\., 3\)"):
            fit(model, guide, (x, torch.zeros(5).long()), num_steps=1, local_noise=local_noise)
    flat = MLP(12, 2, no_weights=True, verbose=False, flatten_inputs=True)
    w = torch.zeros(4, flat.weight_spec.numel)
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(\.\.\., 12\)"):
        batched_forward(flat, w, torch.zeros(5, 3, 3))
    assert batched_forward(flat, w, torch.zeros(0, 3, 4)).shape == (4, 0, 2)


# Data.


def bars(num=120, layout="CHW", seed=0, flatten=False):
    """Colored images of horizontal (0) or vertical (1) bars at random places, in noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num) % 2
    x = 0.3 * torch.randn(num, 3, 8, 8, generator=generator)
    place = torch.randint(8, (num,), generator=generator)
    for i in range(num):
        if y[i]:
            x[i, :, :, place[i]] += 1.5
        else:
            x[i, :, place[i], :] += 1.5
    x = x if layout == "CHW" else x.permute(0, 2, 3, 1).contiguous()
    return Split(x.flatten(1) if flatten else x, y)


def task(layout, said=True, flatten=False):
    info = {"layout": layout} if said else {}
    return Task("bars", bars(120, layout, 0, flatten), bars(100, layout, 1, flatten), 2, info=info)


def test_streams_say_their_layout():
    stream = split_digits(flatten=False)
    assert stream.layout == stream[0].layout == "CHW"
    assert stream.input_shape == (1, 8, 8)
    assert split_digits().layout == "CHW"
    assert get_stream("rotated-digits").layout == "CHW"
    assert get_stream("modes2d").layout is None
    images = torch.rand(8, 6, 6, 3)
    assert from_arrays([(images, [0, 1] * 4)], info={"layout": "HWC"})[0].layout == "HWC"
    with pytest.raises(ValueError, match=r"info\['layout'\]: expected one of 'CHW', 'HWC', got 'NCHW'"):
        from_arrays([(images, [0, 1] * 4)], info={"layout": "NCHW"})
    data = Split(images, torch.arange(8) % 2)
    with pytest.raises(ValueError, match=r"inputs of task 'a': expected images \(3, 6, 6\) as info says"):
        Task("a", data, data, 2, info={"layout": "CHW", "image_shape": (3, 6, 6)})
    with pytest.raises(ValueError, match="task 'bars': expected layout CHW as in task 'bars', got 'HWC'"):
        TaskStream([task("CHW", flatten=True), task("HWC", flatten=True)])
    with pytest.raises(ValueError, match=r"task: expected images \(C, H, W\)"):
        rotated(task("HWC"))


RESNET = {"n": 1, "num_feature_maps": (6, 6, 8, 10), "no_weights": True, "verbose": False}
TRAINING = Training(steps=60, batch_size=40, lr=3e-2, num_particles=1)


def accuracy(net, one, **options):
    torch.manual_seed(0)
    learner = Separate(net, PointWeights(), training=TRAINING, num_samples=1, **options)
    state = learner.learn(None, one)
    return (learner.predict(state, one.test.x, 0).label == one.test.y).float().mean().item()


@pytest.mark.parametrize(("layout", "flatten"), [("CHW", False), ("HWC", False), ("CHW", True)])
def test_a_residual_network_learns_images_in_the_layout_of_the_data(layout, flatten):
    assert accuracy(ResNet((8, 8, 3), 2, **RESNET), task(layout, flatten=flatten)) > 0.95


def test_a_residual_network_learns_torchs_layout_also_if_the_data_say_nothing():
    assert accuracy(ResNet((8, 8, 3), 2, **RESNET), task("CHW", said=False)) > 0.95


def test_a_network_for_another_layout_than_that_of_the_data_is_refused_before_training():
    for said, other in (("CHW", "HWC"), ("HWC", "CHW")):
        for flatten in (False, True):
            with pytest.raises(ValueError, match=f"layout: expected a network for the layout '{said}' of the data"):
                accuracy(ResNet((8, 8, 3), 2, layout=other, **RESNET), task(said, flatten=flatten))
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(any, 8, 8, 3\)"):
        accuracy(ResNet((8, 8, 3), 2, layout="HWC", **RESNET), task("CHW", said=False))


def test_the_given_network_keeps_its_open_layout():
    net = ResNet((8, 8, 3), 2, **RESNET)
    Separate(net, PointWeights(), training=Training(steps=1)).learn(None, task("CHW"))
    assert net.layout is None


@pytest.mark.parametrize("flatten", [False, True])
def test_built_networks_read_the_layout_of_the_data(flatten):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 6, dtype=D)
    builder = ConvNetwork((4,), (5,), image_shape=(3, 8, 6) if flatten else None)
    outputs = {}
    w = None
    for layout, images in (("CHW", x), ("HWC", x.permute(0, 2, 3, 1).contiguous()), (None, x)):
        images = images.flatten(1) if flatten else images
        net = builder.build_for(images.shape[1:], 2, layout).double()
        w = torch.randn(1, net.weight_spec.numel, dtype=D) if w is None else w
        outputs[layout] = batched_forward(net, w, images)
        if not flatten:
            with pytest.raises(ValueError, match="x: expected a tensor of shape"):
                net(images.movedim(1, -1), weights=net.weight_spec.split(w[0]))
    torch.testing.assert_close(outputs["CHW"], outputs["HWC"])
    assert torch.equal(outputs["CHW"], outputs[None])
    names = net.weight_spec.names
    assert names[:2] == (("1.weight", "1.bias") if flatten else ("0.weight", "0.bias"))


def test_a_built_network_is_the_one_of_torch():
    torch.manual_seed(0)
    net = ConvNetwork((4,), (5,), "tanh").build((3, 8, 8), 2)
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.Tanh(),
        nn.Linear(5, 2),
    )
    x, w = torch.randn(2, 3, 8, 8), torch.randn(net.weight_spec.numel)
    nn.utils.vector_to_parameters(w, plain.parameters())
    torch.testing.assert_close(net(x, weights=net.weight_spec.split(w)), plain(x))
    assert [name for name, _ in plain.named_parameters()] == list(net.weight_spec.names)


def test_builders_and_data_have_to_agree():
    with pytest.raises(ValueError, match="layout: expected 'HWC' as the data says, or None, got 'CHW'"):
        ConvNetwork(layout="CHW").build_for((8, 8, 3), 2, "HWC")
    with pytest.raises(ValueError, match=r"layout: expected 'HWC' or 'CHW' for inputs \(8, 8, 3\), which look like"):
        ConvNetwork((4,)).build((8, 8, 3), 2)
    assert ConvNetwork((4,), layout="CHW").build((8, 8, 3), 2).weight_spec.shapes[0] == (4, 8, 3, 3)
    assert ConvNetwork((4,), layout="HWC").build((8, 8, 3), 2).weight_spec.shapes[0] == (4, 3, 3, 3)
    with pytest.raises(ValueError, match="image_shape: expected"):
        ConvNetwork(image_shape=(3, 8, 6)).build((3, 6, 8), 2)

    class Old(NetworkBuilder):
        def build(self, input_shape, num_outputs):
            return MLPNetwork((4,)).build(input_shape, num_outputs)

    assert Old().build_for((3, 8, 8), 2, "CHW").weight_spec.shapes[0] == (4, 192)
    with pytest.raises(ValueError, match="network: expected a builder that takes the layout 'HWC' of the data"):
        Old().build_for((8, 8, 3), 2, "HWC")
    assert MLPNetwork((4,)).build_for((8, 8, 3), 2, "HWC").weight_spec.shapes[0] == (4, 192)


def test_learners_predict_alike_for_both_layouts():
    """Channels last or first: the same weights, losses, features, outliers and so the same predictions."""
    found = {}
    for layout in ("CHW", "HWC"):
        learner = PosteriorReplay(
            ConvNetwork((3,), (4,)),
            DiracGenerator(),
            outliers=PatchOutliers(),
            training=Training(steps=5, num_particles=1),
            num_samples=1,
        )
        one = task(layout).to(dtype=D)
        state = learner.learn(None, one, seed=3)
        found[layout] = learner.predict(state, one.test.x)
        restored = learner.restore(one, 1)
        restored.load_state_dict(state.state_dict())
        assert torch.equal(learner.predict(restored, one.test.x).means, found[layout].means)
        other = task("CHW" if layout == "HWC" else "HWC").to(dtype=D)
        with pytest.raises(ValueError, match="task 'bars': expected"):
            learner.learn(state, other)
    torch.testing.assert_close(found["CHW"].means, found["HWC"].means)
    torch.testing.assert_close(found["CHW"].log_density, found["HWC"].log_density)


def test_a_later_task_of_another_layout_is_refused_where_only_the_layout_differs():
    learner = FineTuning(MLPNetwork((4,)), PointWeights(), heads=SharedHead(), training=Training(steps=1))
    state = learner.learn(None, task("CHW", flatten=True))
    with pytest.raises(ValueError, match="task 'bars': expected layout 'CHW' as before, got 'HWC'"):
        learner.learn(state, task("HWC", flatten=True))
    assert learner.learn(state, task("HWC", said=False, flatten=True)).num_tasks == 2


def test_features_of_images_with_channels_last():
    x = torch.rand(4, 3, 8, 6)
    last = x.permute(0, 2, 3, 1).contiguous()
    settings = DensitySettings(image_shape=(3, 8, 6), grid=3)
    expected = settings.empty((3, 8, 6), "CHW").features_of(x)
    torch.testing.assert_close(ImageFeatures((3, 8, 6), 3)(x), expected)
    for images in (last, last.flatten(1)):
        torch.testing.assert_close(settings.empty(images.shape[1:], "HWC").features_of(images), expected)
    torch.testing.assert_close(DensitySettings(grid=3).empty((8, 6, 3), "HWC").features_of(last), expected)


def test_copies_keep_the_layout():
    net = ResNet((8, 6, 3), layout="CHW", **MAPS)
    assert copy.deepcopy(net).layout == "CHW"
