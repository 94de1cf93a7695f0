"""Measurements of the toolbox against literal transcriptions of the published methods."""
