-- Wakes lifecycle's clock: a market that another writer made due within the next seconds is told to
-- whoever listens. All others are found by the clock's own look at what is due next.

CREATE FUNCTION announce_due_market() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM pg_notify('ssmd_due', '');
    RETURN NULL;
END
$function$;

CREATE TRIGGER markets_due_inserted AFTER INSERT ON markets FOR EACH ROW
    WHEN (NEW.status IN ('open', 'active')
        AND (NEW.close_time < clock_timestamp() + interval '10 seconds'
            OR (NEW.status = 'open' AND NEW.open_time < clock_timestamp() + interval '10 seconds')))
    EXECUTE FUNCTION announce_due_market();

CREATE TRIGGER markets_due_updated AFTER UPDATE ON markets FOR EACH ROW
    WHEN ((OLD.status, OLD.open_time, OLD.close_time, OLD.exchange_status)
            IS DISTINCT FROM (NEW.status, NEW.open_time, NEW.close_time, NEW.exchange_status)
        AND NEW.status IN ('open', 'active')
        AND (NEW.close_time < clock_timestamp() + interval '10 seconds'
            OR (NEW.status = 'open' AND NEW.open_time < clock_timestamp() + interval '10 seconds')))
    EXECUTE FUNCTION announce_due_market();
