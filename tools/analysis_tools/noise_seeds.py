"""Mean and spread over the noise of prediction: the same as ``mmmtl noise-seeds``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('noise-seeds')
