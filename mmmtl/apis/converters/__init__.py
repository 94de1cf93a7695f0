"""Published checkpoints in this package's names: pure mappings of keys, one file per method."""
