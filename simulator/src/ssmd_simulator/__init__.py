"""A Kalshi exchange that runs offline: REST, WebSocket, a clock, faults, rate limits."""
