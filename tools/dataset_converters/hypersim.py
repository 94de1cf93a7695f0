"""Prepare Hypersim: the same as ``mmmtl prepare-hypersim``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('prepare-hypersim')
