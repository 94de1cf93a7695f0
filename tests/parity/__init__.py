"""Recorded runs of the published programs, replayed."""
