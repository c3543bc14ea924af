"""Openings and closings in time: what is due (`timed`), in PostgreSQL (`timed_store`), when
(`scheduler`)."""
