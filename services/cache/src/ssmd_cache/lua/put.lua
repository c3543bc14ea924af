-- A row as the stream or PostgreSQL has it: it counts if it is newer than its record. In this order:
-- is it news, may its keys be written, out of where it was, into where it is, its record, and what
-- its category means for markets. A row without a key is gone, or may not be shown: its record stays
-- for a while (a tombstone), so that an older message cannot bring it back, and its category counts.

local generation = ''
local changed, missing = 0, {}

-- Whether what is as old as the record counts, as its value is missing.
local again = false

local function is_old(record, position)
  return record and (position < record[R_POSITION] or position == record[R_POSITION] and not again)
end

-- Whether a key holds someone else's type. What a record of ours names is ours.
local checked, none_exist = {}, false

local function refuses(key, wanted)
  local refused = checked[key]
  if refused == nil then
    refused = not (none_exist and wanted == 'string') and foreign(key, wanted)
    checked[key] = refused
  end
  if refused then blocked[#blocked + 1] = key end
  return refused
end

local refused

-- Hashes and sorted sets have fixed names: the gate looked at them.
local function look_for_others(type, key)
  if type == 'set' and refuses(key, 'set') then refused = true end
end

local function is_refused(kind, ticker, record, old)
  local key = record[R_KEY]
  refused = key ~= '' and not (old and old[R_KEY] == key) and refuses(key, 'string')
  if not refused then each_entry(kind, ticker, record, look_for_others) end
  return refused
end

-- Categories: a market's is its event's, else the series'.

local function series_category(series)
  local record = load('s', series)
  return record and record[S_CATEGORY] or ''
end

local function event_category(record)
  if record[E_CATEGORY] ~= '' then return record[E_CATEGORY] end
  return series_category(record[E_SERIES])
end

local function market_category(record)
  local event = load('e', record[M_EVENT])
  if event then return event_category(event) end
  missing[#missing + 1] = record[M_EVENT]
  return series_category(record[M_SERIES])
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
      if record[M_CATEGORY] ~= '' then leave('set', category_key(record[M_CATEGORY]), ticker) end
      if category ~= '' then later('SADD', by_category, ticker) end
      record[M_CATEGORY] = category
      save('m', ticker, record)
    end
  end
end

local function recategorise_series(series, category)
  flush()
  for _, event in ipairs(redis.call('SMEMBERS', uncategorised_key(series))) do
    local record = load('e', event)
    if record and record[E_SERIES] == series and record[E_CATEGORY] == '' then
      recategorise(event, category)
    end
  end
end

local function put(kind, ticker, record, value, known_only)
  local old = load(kind, ticker)
  if has_ended(kind, record) then record[R_KEY] = '' end
  local key = record[R_KEY]
  if is_old(old, record[R_POSITION]) or (not old and key == '' and known_only) then return end
  record[R_GENERATION] = generation
  if kind == 'm' and key ~= '' and record[M_LISTED] == '1' then
    record[M_CATEGORY] = market_category(record)
  end
  if is_refused(kind, ticker, record, old) then return end
  local before = kind == 'e' and old and event_category(old) or kind == 's' and old and old[S_CATEGORY]
  local stays = old and same_place(kind, old, record)
  -- A value that is taken out is written again below, in the same step: no reader sees it missing.
  if old and not stays then take_out(kind, ticker, old) end
  if key ~= '' then write_value(key, value, expires_of(kind, record)) end
  if not stays then each_entry(kind, ticker, record, put_in) end
  local at = look_at(kind, record)
  if at ~= '' or (old and look_at(kind, old) ~= '') then schedule(kind, ticker, at) end
  save(kind, ticker, record)
  if kind == 'e' then
    local after = event_category(record)
    if before ~= after then recategorise(ticker, after) end
  elseif kind == 's' and before ~= record[S_CATEGORY] then
    recategorise_series(ticker, record[S_CATEGORY])
  end
  changed = changed + 1
end

-- A row whose end has come.
local function bury(kind, ticker, record)
  take_out(kind, ticker, record)
  record[R_KEY] = ''
  -- An event's category stays known as long as it has markets.
  each_entry(kind, ticker, record, put_in)
  save(kind, ticker, record)
  schedule(kind, ticker, look_at(kind, record))
end
