"""The embedded world of rendered shapes: scenes, captions, renderer, judge and trained models."""
