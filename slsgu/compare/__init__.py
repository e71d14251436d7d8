"""Methods side by side: tuned alike, measured alike, on one task."""
