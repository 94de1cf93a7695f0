"""Metrics of dense prediction as pure functions on arrays; nothing here knows about tasks, models or files of a run."""
