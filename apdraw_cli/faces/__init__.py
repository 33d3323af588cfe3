"""From a photo to aligned portraits: detect, align, segment."""
