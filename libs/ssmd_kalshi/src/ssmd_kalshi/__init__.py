"""The Kalshi exchange: REST and WebSocket client, signing, read budget, wire format to models."""
