"""Drawing over HTTP: one engine that stays open, and draws the photos of many requests together."""
