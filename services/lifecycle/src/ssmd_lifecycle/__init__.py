"""Kalshi WebSocket and the clock to PostgreSQL."""
