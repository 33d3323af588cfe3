"""The command line: one module a command, with its parameters, examples, and how its result is told."""
