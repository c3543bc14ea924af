"""Streams of ours kept as files for good: the format (docs/archive.md), writing, recovering."""
