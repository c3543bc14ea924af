"""From a row as PostgreSQL sent it to the message about it; without I/O."""
