"""Tests of mmmtl; the folders mirror the package."""
