"""From the WebSocket to messages that wait: `listener` → `parser` → `inbox`, and what was missed →
`gaps`."""
