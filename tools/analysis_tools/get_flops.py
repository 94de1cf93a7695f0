"""Parameters and multiply-accumulates by part: the same as ``mmmtl flops``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('flops')
