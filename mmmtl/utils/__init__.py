"""What every room may need: files written whole, seeds, tables."""
