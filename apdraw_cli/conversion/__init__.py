"""The way of a photo through a conversion, from its path to its drawing."""
