"""Convert published maps of partial labels: the same as ``mmmtl label-map``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('label-map')
