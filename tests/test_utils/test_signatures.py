"""Keyword arguments are followed up the bases as far as they really go."""

from __future__ import annotations

from mmmtl.utils.signatures import accepted_arguments


class Closed:
    def __init__(self, a, b=1):
        pass


class Hands(Closed):
    def __init__(self, c, **kwargs):
        super().__init__(**kwargs)


class HandsTwice(Hands):
    def __init__(self, d, **rest):
        super(HandsTwice, self).__init__(1, **rest)  # noqa: UP008


class Keeps(Closed):
    def __init__(self, c, **kwargs):
        super().__init__(1)
        self.kwargs = kwargs


class Both(Closed):
    def __init__(self, c, **kwargs):
        kwargs.setdefault('b', 2)
        super().__init__(**kwargs)


class Nothing(Closed):
    pass


class Bare:
    pass


def test_closed_signature():
    assert accepted_arguments(Closed) == ({'a', 'b'}, False)
    assert accepted_arguments(Nothing) == ({'a', 'b'}, False)
    assert accepted_arguments(Bare) == (set(), False)


def test_kwargs_handed_up_are_those_of_the_base():
    assert accepted_arguments(Hands) == ({'a', 'b', 'c'}, False)
    assert accepted_arguments(HandsTwice) == ({'a', 'b', 'c', 'd'}, False)


def test_kwargs_used_otherwise_may_be_anything():
    assert accepted_arguments(Keeps)[1] and accepted_arguments(Both)[1]


def test_functions_and_built_ins():
    assert accepted_arguments(lambda x, *, y: 0) == ({'x', 'y'}, False)
    assert accepted_arguments(dict)[1]


def test_kwargs_kept_for_one_function():
    from mmmtl.engine.hooks import AtomicCheckpointHook

    names, is_open = accepted_arguments(AtomicCheckpointHook)
    assert {'interval', 'max_keep_ckpts', 'save_best', 'by_epoch'} <= names and not is_open
