"""How fast a model runs: the same as ``mmmtl benchmark``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('benchmark')
