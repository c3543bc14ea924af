"""Redis filled from a snapshot of PostgreSQL, beside what readers see meanwhile."""
