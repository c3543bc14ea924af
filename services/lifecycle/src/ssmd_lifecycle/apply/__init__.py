"""From messages that wait to rows: `recorder` → `message_store` → `effects` → `transitions`; what
they leave open is asked from REST by `resolver`."""
