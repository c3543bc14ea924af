-- A market's category (docs/decisions/0056): its event's, else its series'; NULL in a multivariate market, of which no index
-- goes by it. Triggers keep it, whoever writes. Parents are locked first, as writers lock them: a market is added, and its
-- category read, before its parent's changes or after that.

CREATE FUNCTION category_of_market(of_event text) RETURNS varchar LANGUAGE plpgsql AS $function$
DECLARE
    found     varchar;
    of_series text;
BEGIN
    SELECT e.category, e.series_ticker INTO found, of_series FROM public.events e
        WHERE e.event_ticker = of_event FOR SHARE;
    IF found IS NULL THEN
        -- A statement of its own sees what the lock was waited for.
        SELECT s.category INTO found FROM public.series s WHERE s.ticker = of_series;
    END IF;
    RETURN found;
END
$function$;

CREATE FUNCTION categorise_markets_of_series() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    -- Who adds an event, or a market to one, has been waited for or waits: a foreign key, or FOR SHARE above, asks for these.
    PERFORM FROM public.series s WHERE s.ticker = NEW.ticker FOR UPDATE;
    PERFORM FROM public.events e WHERE e.series_ticker = NEW.ticker ORDER BY e.event_ticker FOR NO KEY UPDATE;
    UPDATE public.markets m SET category = NEW.category, updated_at = now()
        FROM public.events e
        WHERE e.series_ticker = NEW.ticker AND e.category IS NULL AND m.event_ticker = e.event_ticker
            AND m.mve_collection_ticker IS NULL AND m.category IS DISTINCT FROM NEW.category;
    RETURN NULL;
END
$function$;

CREATE FUNCTION categorise_markets_of_event() RETURNS trigger LANGUAGE plpgsql AS $function$
DECLARE
    found varchar := public.category_of_market(NEW.event_ticker);
BEGIN
    UPDATE public.markets m SET category = found, updated_at = now()
        WHERE m.event_ticker = NEW.event_ticker AND m.mve_collection_ticker IS NULL
            AND m.category IS DISTINCT FROM found;
    RETURN NULL;
END
$function$;

CREATE FUNCTION categorise_new_market() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    NEW.category := public.category_of_market(NEW.event_ticker);
    RETURN NEW;
END
$function$;

-- What moved, or what somebody wrote there: rare, and so a second update costs less than a look at each row before it.
CREATE FUNCTION categorise_market() RETURNS trigger LANGUAGE plpgsql AS $function$
DECLARE
    found varchar;
BEGIN
    IF NEW.mve_collection_ticker IS NULL THEN
        found := public.category_of_market(NEW.event_ticker);
    END IF;
    UPDATE public.markets m SET category = found WHERE m.ticker = NEW.ticker AND m.category IS DISTINCT FROM found;
    RETURN NULL;
END
$function$;

CREATE TRIGGER categorise AFTER UPDATE OF category ON series FOR EACH ROW
    WHEN (OLD.category IS DISTINCT FROM NEW.category) EXECUTE FUNCTION categorise_markets_of_series();
CREATE TRIGGER categorise AFTER UPDATE OF category ON events FOR EACH ROW
    WHEN (OLD.category IS DISTINCT FROM NEW.category) EXECUTE FUNCTION categorise_markets_of_event();

ALTER TABLE markets ADD COLUMN category varchar(128);
SELECT history.watch('markets');
CREATE TRIGGER categorise_new BEFORE INSERT ON markets FOR EACH ROW
    WHEN (NEW.mve_collection_ticker IS NULL) EXECUTE FUNCTION categorise_new_market();
CREATE TRIGGER categorise AFTER UPDATE OF event_ticker, series_ticker, mve_collection_ticker, category ON markets
    FOR EACH ROW
    WHEN ((OLD.event_ticker, OLD.series_ticker, OLD.mve_collection_ticker, OLD.category)
        IS DISTINCT FROM (NEW.event_ticker, NEW.series_ticker, NEW.mve_collection_ticker, NEW.category))
    EXECUTE FUNCTION categorise_market();
