-- Categories: a market's is its event's, else the series'.

local function series_category(series)
  local record = load('s', series)
  return record and record[S_CATEGORY] or ''
end

local function event_category(record)
  if record[E_CATEGORY] ~= '' then return record[E_CATEGORY] end
  return series_category(record[E_SERIES])
end

-- Someone else may have put another type there since: then there is nothing of ours to take out.
local function leave(set, member)
  redis.pcall('SREM', set, member)
end

local function recategorise(event, category)
  flush()
  local listing, by_category = members_key(event), category_key(category)
  for _, key in ipairs({listing, category ~= '' and by_category or nil}) do
    if foreign(key, 'set') then
      blocked[#blocked + 1] = key
      return
    end
  end
  local members = redis.call('SMEMBERS', listing)
  fetch('m', members)
  for _, ticker in ipairs(members) do
    local record = load('m', ticker)
    if record and record[M_LISTED] == '1' and record[M_CATEGORY] ~= category then
      if record[M_CATEGORY] ~= '' then
        leave(category_key(record[M_CATEGORY]), ticker)
      end
      if category ~= '' then later('SADD', by_category, ticker) end
      record[M_CATEGORY] = category
      save('m', ticker, record)
    end
  end
end

-- Taking a row out of whatever its record says it is in.

local function unlink_market(ticker, record)
  if record[KEY] == '' then return end
  flush()
  redis.call('DEL', record[KEY])
  redis.call('HDEL', MARKETS, ticker)
  leave(members_key(record[M_EVENT]), ticker)
  if record[M_LISTED] == '1' then
    redis.call('ZREM', EXPIRING, ticker)
    if record[M_CATEGORY] ~= '' then
      leave(category_key(record[M_CATEGORY]), ticker)
    end
  end
end

local function unlink_event(ticker, record)
  if record[KEY] == '' then return end
  flush()
  redis.call('DEL', record[KEY])
  redis.call('HDEL', EVENTS, ticker)
end

local function unlink(kind, ticker, record)
  flush()
  if kind == 'm' then
    unlink_market(ticker, record)
  elseif kind == 'e' then
    unlink_event(ticker, record)
    redis.call('SREM', uncategorised_key(record[E_SERIES]), ticker)
  elseif record[KEY] ~= '' then
    redis.call('DEL', record[KEY])
  end
end

local function bury(kind, ticker, record)
  unlink(kind, ticker, record)
  record[KEY] = ''
  save(kind, ticker, record)
  schedule(kind, ticker, now + TOMBSTONE_MS)
end
