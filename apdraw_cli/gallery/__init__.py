"""The gallery: a static page to look through the drawings and failures of an output folder."""
