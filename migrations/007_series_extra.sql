-- What the exchange says of a series and no column holds, as `markets.extra` has it. Each table has a
-- migration, and so a transaction, of its own: whoever waits for one lock holds no other.

ALTER TABLE series ADD COLUMN extra jsonb;
