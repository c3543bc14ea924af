"""Streams of ours from both ends: names, envelope, reading without gaps, joining a snapshot."""
