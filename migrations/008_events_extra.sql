-- What the exchange says of an event and no column holds, as `markets.extra` has it.

ALTER TABLE events ADD COLUMN extra jsonb;
