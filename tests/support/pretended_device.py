"""An accelerator that this machine does not have: its tensors compute on the CPU and keep the rules of a device.

Inside ``with PretendedDevice() as device:`` any factory, ``Tensor.to`` and ``Module.to`` accept ``device.name``. As on
CUDA, tensors of the device do not meet tensors of the CPU in one operation, but for numbers without dimensions and
indices; a generator draws on its own device alone; and each value that the host reads is counted, by the function that
asks for it, as is each copy to the device for which it waits.
Autograd needs a kind of device that torch knows: the tensors say ``meta``.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path

import torch
import torch._dynamo  # now, since it looks at torch.Generator, which is exchanged below
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

import bayeshnet

__all__ = ["Pretended", "PretendedDevice", "asking_function"]

aten = torch.ops.aten
_DEVICE = torch.device("meta")
_CPU = torch.device("cpu")
_PACKAGE = str(Path(bayeshnet.__file__).parent) + "/"
_REAL_GENERATOR, _REAL_TENSOR, _REAL_AS_TENSOR = torch.Generator, torch.tensor, torch.as_tensor
_COPIES = {aten.copy_.default, aten._to_copy.default}
_INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
"""Operations on the tensor that comes first, which take indices that are on the CPU."""
_READS = {
    getattr(getattr(aten, name), overload)
    for name, overload in (
        ("_local_scalar_dense", "default"),
        ("is_nonzero", "default"),
        ("equal", "default"),
        ("nonzero", "default"),
        ("masked_select", "default"),
        ("bincount", "default"),
        ("_unique2", "default"),
        ("unique_consecutive", "default"),
        ("unique_dim", "default"),
        ("_linalg_check_errors", "default"),
        ("_linalg_eigh", "default"),
        ("_linalg_svd", "default"),
    )
}
"""Operations for which the host waits: it needs a number, a size that depends on values, or the success of a solver."""


class Pretended(Tensor):
    """Tensor of the device, which computes with the one on the CPU that it was made of."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=_DEVICE,
        )
        made.inner = inner.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents=None):
        return f"Pretended({self.inner})"

    @property
    def is_meta(self):
        return False

    def tolist(self):
        _count("reads", "tolist")
        return self.inner.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("a tensor of a device has no numpy array: copy it to the CPU first")

    __array__ = numpy

    def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
        made = _REAL_TENSOR(data, dtype=dtype or self.dtype).to(self.device if device is None else device)
        return made.requires_grad_(requires_grad)


class PretendedDevice(TorchDispatchMode):
    """The device while it is there, as a context.

    Attributes:
        device: the device, and ``name``, its name.
        reads: how often the host has read a value, by the function of the library that asked (or of the caller).
        sends: how often it has waited until a tensor of its own was copied to the device.
    """

    current: PretendedDevice | None = None
    device = _DEVICE
    name = "meta"

    def __init__(self):
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.sends: Counter[str] = Counter()

    def __enter__(self):
        PretendedDevice.current = self
        self._rule = _OneDevicePerGenerator()
        self._rule.__enter__()
        torch.Generator, torch.tensor, torch.as_tensor = _AnyGenerator, _tensor, _as_tensor
        self._swap = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        nn.Parameter.data = property(Tensor.data.__get__, _set_data)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        del nn.Parameter.data
        torch.__future__.set_swap_module_params_on_conversion(self._swap)
        torch.Generator, torch.tensor, torch.as_tensor = _REAL_GENERATOR, _REAL_TENSOR, _REAL_AS_TENSOR
        self._rule.__exit__(*error)
        PretendedDevice.current = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted) == _DEVICE:
            return _compute(func, args, kwargs)
        if any(isinstance(part, Pretended) for part in _leaves(args, kwargs)):
            return _compute(func, args, kwargs)
        return func(*args, **kwargs)

    @property
    def waits(self) -> Counter[str]:
        """Reads and sends."""
        return self.reads + self.sends


def _compute(func, args, kwargs):
    """Compute on the CPU what is asked of the device, and wrap what is made there."""
    parts = [part for part in _leaves(args, kwargs) if isinstance(part, Tensor)]
    here = [part for part in parts if isinstance(part, Pretended)]
    wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    _refuse_mixing(func, args, parts)
    if here and _is_read(func, args, wanted):
        _count("reads", func.overloadpacket.__name__)
    if _is_send(func, args, kwargs, wanted):
        _count("sends", func.overloadpacket.__name__)
    if func is aten._efficientzerotensor.default:  # has no memory on the CPU either
        return Pretended(torch.zeros(args[0], dtype=kwargs.get("dtype")))
    stays = bool(here) if wanted is None else wanted == _DEVICE
    if func is aten.copy_.default:
        stays = isinstance(args[0], Pretended)
    inner_args = [_unwrapped(part) for part in args]
    inner_kwargs = {name: _unwrapped(part) for name, part in kwargs.items()}
    if wanted == _DEVICE:
        inner_kwargs["device"] = _CPU
    if inner_kwargs.get("pin_memory"):
        inner_kwargs["pin_memory"] = False
    out = func(*inner_args, **inner_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape of the wrapper changes as well
            func(*args, **kwargs)
    if _changes_first(func):
        return args[0]
    return _wrapped(out) if stays else out


def _leaves(args, kwargs):
    """Return arguments of an operation, and the entries of those that are lists."""
    found = []
    for part in (*args, *kwargs.values()):
        if isinstance(part, (list, tuple)):
            found.extend(part)
        else:
            found.append(part)
    return found


def _unwrapped(part):
    if isinstance(part, Pretended):
        return part.inner
    return [_unwrapped(entry) for entry in part] if isinstance(part, (list, tuple)) else part


def _wrapped(out):
    if isinstance(out, Tensor):
        return out if isinstance(out, Pretended) else Pretended(out)
    return type(out)(map(_wrapped, out)) if type(out) in (list, tuple) else out


_CHANGES: dict[object, bool] = {}


def _changes_first(func):
    """Return whether the operation changes its first argument and returns it."""
    if func not in _CHANGES:
        arguments = func._schema.arguments
        alias = arguments[0].alias_info if arguments else None
        _CHANGES[func] = alias is not None and alias.is_write and len(func._schema.returns) == 1
    return _CHANGES[func]


def _refuse_mixing(func, args, parts):
    """Raise as CUDA does if tensors of two devices meet."""
    if func in _COPIES or not any(isinstance(part, Pretended) for part in parts):
        return
    if func in _INDEXED and isinstance(args[0], Pretended):
        parts = [] if func is aten.index.Tensor else [part for part in args[2:3] if isinstance(part, Tensor)]
    if any(not isinstance(part, Pretended) and part.ndim > 0 for part in parts):
        expected = "Expected all tensors to be on the same device, but found at least two devices"
        raise RuntimeError(f"{expected}, the pretended device and the CPU! ({func})")
    if func is not aten.where.self and sum(not isinstance(part, Pretended) for part in parts) > 1:
        raise RuntimeError(f"Trying to pass too many CPU scalars to a kernel of the pretended device! ({func})")


def _is_send(func, args, kwargs, wanted):
    """Return whether the host waits for a copy of its own tensor to the device."""
    if func is aten._to_copy.default:
        sent = wanted == _DEVICE and not isinstance(args[0], Pretended)
        return sent and not kwargs.get("non_blocking")
    if func is aten.copy_.default:
        sent = isinstance(args[0], Pretended) and not isinstance(args[1], Pretended)
        return sent and not (kwargs.get("non_blocking") or args[2:3] == (True,))
    return func in _INDEXED and any(isinstance(i, Tensor) and not isinstance(i, Pretended) for i in args[1])


def _is_read(func, args, wanted):
    """Return whether the host waits for a value of the device."""
    if func in _READS:
        return True
    if func is aten._to_copy.default:
        return wanted is not None and wanted != _DEVICE
    if func is aten.copy_.default:
        return not isinstance(args[0], Pretended)
    if func in _INDEXED:  # where a mask is true is a size that depends on values
        return any(isinstance(i, Pretended) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return False


def _count(kind, what):
    device = PretendedDevice.current
    if device is not None:
        getattr(device, kind)[f"{asking_function()} [{what}]"] += 1


def asking_function(but=(__file__,)):
    """Return the innermost function of the library on the stack; else one that is neither torch's nor of files.

    What autograd's own threads ask for, the main thread waits for.
    """
    ours = threading.current_thread() is threading.main_thread()
    frame, fallback = sys._getframe(2) if ours else sys._current_frames()[threading.main_thread().ident], None
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE):
            return f"{name.removeprefix(_PACKAGE)}:{frame.f_code.co_name}"
        if fallback is None and "/torch/" not in name and name not in but:
            fallback = f"{Path(name).parent.name}/{Path(name).name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return fallback or "?"


class _Generator(_REAL_GENERATOR):
    """A generator of the device."""

    @property
    def device(self):
        return _DEVICE


class _Kinds(type):
    """Makes generators for the device that is asked for, and calls all of them generators."""

    def __call__(cls, device="cpu"):
        return _Generator() if torch.device(device) == _DEVICE else _REAL_GENERATOR(device)

    def __instancecheck__(cls, instance):
        return isinstance(instance, _REAL_GENERATOR)


class _AnyGenerator(metaclass=_Kinds):
    """Stands for ``torch.Generator`` while the device is there."""


class _OneDevicePerGenerator(TorchFunctionMode):
    """Refuses a generator of another device than that of the numbers it draws."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if isinstance(generator, _REAL_GENERATOR):
            device = kwargs.get("device")
            if device is None:
                device = args[0].device if args and isinstance(args[0], Tensor) else _CPU
            if (torch.device(device) == _DEVICE) != isinstance(generator, _Generator):
                raise RuntimeError(f"Expected a {device!r} device type for generator but found {generator.device!r}")
        return func(*args, **kwargs)


def _tensor(data, *, dtype=None, device=None, requires_grad=False, **options):
    """Make a tensor on the CPU first, as it is done for CUDA."""
    if device is None or torch.device(device) != _DEVICE:
        return _REAL_TENSOR(data, dtype=dtype, device=device, requires_grad=requires_grad, **options)
    return _REAL_TENSOR(data, dtype=dtype).to(_DEVICE).requires_grad_(requires_grad)


def _as_tensor(data, dtype=None, device=None):
    if isinstance(data, Tensor):
        return data.to(device=data.device if device is None else device, dtype=dtype or data.dtype)
    if device is None or torch.device(device) != _DEVICE:
        return _REAL_AS_TENSOR(data, dtype=dtype, device=device)
    return _tensor(data, dtype=dtype, device=device)


def _set_data(parameter, value):
    """Move a parameter by its ``data``, which torch allows between kinds of devices that it knows."""
    if isinstance(parameter, Pretended) == isinstance(value, Pretended):
        Tensor.data.__set__(parameter, value)
    else:
        torch.utils.swap_tensors(parameter, nn.Parameter(value, requires_grad=parameter.requires_grad))
