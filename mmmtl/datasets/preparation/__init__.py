"""From raw downloads to the files the datasets read: resumable, nothing written half."""
