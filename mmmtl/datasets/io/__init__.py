"""Files: readers of every format that images and labels come in, derived labels and their cache."""
