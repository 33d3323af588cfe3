"""Where the photos of a conversion are prepared, drawn and written: the executors."""
