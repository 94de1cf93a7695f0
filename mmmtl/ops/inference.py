"""Everything that changes classes or weights for prediction, by one call.

``optimize_for_inference(model)`` gives every module below ``model`` that has a faster form for prediction that form, and
``model.train()`` takes it back. A form is a class with another forward pass; parameters, buffers and their names stay, and
what a form derives from them (transformed or folded weights) is remembered beside them until they change.

A new form is a subclass of :class:`InferenceForm` under the decorator :func:`inference_form_of`::

    @inference_form_of(nn.Conv2d, 'package.module.SomeConv2d')
    class FastConv2d(InferenceForm):
        def forward(self, x):
            if not served('fast_conv', x) or not predicting():
                return super().forward(x)
            return fast_conv(x, self.remember('weight', (self.weight,), lambda: prepare(self.weight)))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

T = TypeVar('T')
M = TypeVar('M', bound=nn.Module)
_REMEMBERED = '_remembered_for_inference'


class InferenceForm(nn.Module):
    """A module's form for prediction, put before the module's own class: ``super().forward`` is the plain one.

    Copies and pickles of a module in such a form are plain modules.
    """

    plain: ClassVar[type[nn.Module]]
    """The module's own class."""
    built_on: ClassVar[tuple[str, ...]] = ()
    """Names of other forms whose ways this one takes: where they are kept away, it is too."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether this module, of one of the classes that the form stands for, may take the form."""
        return True

    def train(self, mode: bool = True) -> Any:
        """In training the module is again of its own class."""
        if not mode:
            return super().train(mode)
        restore(self)
        return self.train(mode)

    def remember(self, key: Any, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """What ``make()`` gave, kept until one of the tensors it was made of changes.

        Args:
            key: Names the derived value; values of different keys are kept side by side.
            sources: Parameters and buffers that ``make`` reads.
            make: Gives the derived value, without recording gradients.
        """
        kept = self.__dict__.setdefault(_REMEMBERED, {})
        mark = tuple(map(_mark, sources))
        if key not in kept or kept[key][0] != mark:
            kept[key] = (mark, make())
        return kept[key][1]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        state = {k: v for k, v in self.__dict__.items() if k != _REMEMBERED}
        return _empty, (self.plain,), state


def _empty(plain: type[nn.Module]) -> nn.Module:
    """A module without its state."""
    return nn.Module.__new__(plain)


def _mark(tensor: Tensor) -> tuple:
    """What tells a tensor from its changed self."""
    # writes through ``.data`` (averaged weights are swapped in that way) leave the version alone, hence the sample
    version = None if tensor.is_inference() else tensor._version
    flat = tensor.detach()
    sample = flat[::7, ::61] if flat.ndim > 1 else flat
    return flat.data_ptr(), version, flat.dtype, sample.sum().item()


FORMS: dict[str, list[type[InferenceForm]]] = {}
"""Forms by the full name of the class they stand for; the first that fits is taken."""


def _name(kind: type) -> str:
    return f'{kind.__module__}.{kind.__qualname__}'


def inference_form_of(*classes: type | str) -> Callable[[type[InferenceForm]], type[InferenceForm]]:
    """Register a form for modules of exactly these classes; full names stand for classes that need not be there."""

    def register(form: type[InferenceForm]) -> type[InferenceForm]:
        for kind in classes:
            FORMS.setdefault(kind if isinstance(kind, str) else _name(kind), []).append(form)
        return form

    return register


@functools.cache
def _combined(form: type[InferenceForm], plain: type[nn.Module]) -> type[nn.Module]:
    """The class of a module of class ``plain`` in its ``form``."""
    return type(f'{form.__name__}Of{plain.__name__}', (form, plain), {'plain': plain, '__module__': form.__module__})


def optimize_for_inference(model: M) -> M:
    """Put ``model`` into eval mode and give its modules their faster forms, in place; ``model.train()`` undoes it.

    The state dict stays as it is, and predictions agree with those of the plain network up to rounding (relative
    difference 2e-5 in single precision). Where a form has no kernel (other devices, other precisions, recorded
    gradients, ``torch.compile``) the module computes as ever. Transformed weights take memory: with 3x3 convolutions
    on a CPU four times that of their weights.

    A module with an attribute ``plain_for_inference`` (names of forms) keeps these forms away from all modules below it.

    Args:
        model: Any network; one that is optimised already is left as it is.

    Returns:
        ``model``.
    """
    from . import forms  # noqa: F401  (registers the forms of this package)

    model.eval()
    _give_forms(model, frozenset())
    return model


def _give_forms(module: nn.Module, without: frozenset[str]) -> None:
    without = without | frozenset(getattr(module, 'plain_for_inference', ()))
    for child in module.children():
        _give_forms(child, without)
    for form in FORMS.get(_name(type(module)), ()):
        if without.isdisjoint((form.__name__, *form.built_on)) and form.fits(module):
            module.__class__ = _combined(form, type(module))  # type: ignore[arg-type]  # classes are hashable
            break


def restore(model: M) -> M:
    """Take all forms below ``model`` back, and drop what they remembered; the mode stays."""
    for module in model.modules():
        if isinstance(module, InferenceForm):
            module.__dict__.pop(_REMEMBERED, None)
            module.__class__ = module.plain
    return model
