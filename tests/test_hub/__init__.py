"""Tests of the room ``hub``."""
