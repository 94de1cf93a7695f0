"""Every kernel is tried on every machine, whether its processor is one that it pays on or not."""

from __future__ import annotations

import pytest

from mmmtl.ops import dispatch


@pytest.fixture(autouse=True)
def table_with_all_kernels(monkeypatch):
    table = dispatch.kernels_of(())
    monkeypatch.setattr(dispatch, 'KERNELS', table)
    monkeypatch.setitem(dispatch._tables, 'fast', table)
