"""The live view: what is known now, in memory, and kept current."""
