"""A device that this machine does not have: tensors that name another one, and that the host cannot look into."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["Elsewhere"]


class Elsewhere(Tensor):
    """Tensor that computes with the one it was made of, and whose device is not the CPU.

    Reading its value, as ``item`` and ``bool`` do, is an error, since on an accelerator the host would wait for it.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        made = Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device="meta")
        made.inner = inner.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("the host reads a value of the device")
        args, kwargs = tree_map_only(Elsewhere, lambda t: t.inner, (args, kwargs or {}))
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return tree_map_only(Tensor, Elsewhere, func(*args, **kwargs))
