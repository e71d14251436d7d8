"""The change of some layers as a value, as a file, and on models that lie on disk."""
