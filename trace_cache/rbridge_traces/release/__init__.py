"""Published traces as their authors lay them out: completions, token rows and marked spans, read into traces."""
