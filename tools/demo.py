"""Train, evaluate and draw a small TaskDiffusion on generated scenes: the same as ``mmmtl demo``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('demo')
