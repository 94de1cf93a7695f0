"""Write the catalogue of methods: the same as ``mmmtl methods``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('methods')
