"""Prepare FlyingThings3D: the same as ``mmmtl prepare-flyingthings3d``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('prepare-flyingthings3d')
