"""Makes generators: networks, losses, data, training, export. Imports `engines`, never `apdraw_cli`."""
