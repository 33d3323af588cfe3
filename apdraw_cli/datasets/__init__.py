"""The way of photos and drawings into a training set."""
