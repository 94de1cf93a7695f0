"""Literal, slow transcriptions of the published methods: second derivations for the tests and baselines for timings."""
