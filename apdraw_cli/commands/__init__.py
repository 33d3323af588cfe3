"""One module a command: options in, result object out."""
