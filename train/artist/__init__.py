"""An artist that draws portraits by rule: lines along a face mesh, snapped to the photo's edges, as tapered strokes."""
