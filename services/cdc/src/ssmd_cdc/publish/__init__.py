"""cdc's own streams, and what is published to which; how is in `ssmd_stream.publish`."""
