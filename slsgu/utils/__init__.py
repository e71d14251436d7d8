"""Files, artifacts, memory, words: what every other room stands on."""
