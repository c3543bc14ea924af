"""Kalshi REST to PostgreSQL."""
