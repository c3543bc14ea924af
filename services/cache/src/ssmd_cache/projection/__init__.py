"""What a row of PostgreSQL is in Redis (docs/contracts.md § 3): the one set of rules. Pure.

The warm-up, the stream and the verification all go this way, so that they cannot differ:

    JSON of a row → facts.py (the columns that rules need) → project.py → a record (records.py)
    → for the stream: commands.py

A record is the projection of its row: the key of its value, what its index entries follow from, and
when it expires. It is also what Redis keeps beside the row, to judge later changes by.
"""
