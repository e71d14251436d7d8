"""An outcome for programs (JSON) and for people (one HTML page with its figures)."""
