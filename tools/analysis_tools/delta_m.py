"""Δm against single-task networks: the same as ``mmmtl delta-m``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('delta-m')
