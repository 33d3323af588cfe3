"""Non-photorealistic rendering: training drawings made from photos by image filters."""
