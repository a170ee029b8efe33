"""Streams of tasks: real data sets split by class or permuted, toy problems, and builders for your own data."""

from .builders import class_order, from_arrays, from_datasets, split_by_class, split_dataset
from .cifar import load_cifar, split_cifar10, split_cifar100
from .digits import load_digits, permuted_digits, rotated_digits, split_digits
from .idx import load_idx_folder, read_idx
from .mnist import permuted_fashion_mnist, permuted_mnist, split_fashion_mnist, split_mnist
from .outliers import image_outliers
from .registry import STREAMS, StreamEntry, drawn_options, get_stream, stream_options
from .sources import ArrayRows, DictRows, FolderImages, from_avalanche, image_folder
from .toy import modes2d, regression1d
from .transforms import permuted, rotated

__all__ = [
    "STREAMS",
    "ArrayRows",
    "DictRows",
    "FolderImages",
    "StreamEntry",
    "class_order",
    "drawn_options",
    "from_arrays",
    "from_avalanche",
    "from_datasets",
    "get_stream",
    "image_folder",
    "image_outliers",
    "load_cifar",
    "load_digits",
    "load_idx_folder",
    "modes2d",
    "permuted",
    "permuted_digits",
    "permuted_fashion_mnist",
    "permuted_mnist",
    "read_idx",
    "regression1d",
    "rotated",
    "rotated_digits",
    "split_by_class",
    "split_cifar10",
    "split_cifar100",
    "split_dataset",
    "split_digits",
    "split_fashion_mnist",
    "split_mnist",
    "stream_options",
]
