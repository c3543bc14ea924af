-- Rows of the stream: only what is newer than its record counts.

local generation = ''
local changed, missing = 0, {}

-- Whether what is as old as the record counts, as its value is missing.
local again = false

local function is_old(record, position)
  return record and (position < record[POS] or position == record[POS] and not again)
end

-- Whether a key holds someone else's type. What a record of ours names is ours.
local checked, none_exist = {}, false

local function refuses(key, wanted)
  local refused = checked[key]
  if refused == nil then
    refused = not none_exist and foreign(key, wanted)
    checked[key] = refused
  end
  if refused then blocked[#blocked + 1] = key end
  return refused
end

local function refuses_set(key)
  local refused = checked[key]
  if refused == nil then
    refused = foreign(key, 'set')
    checked[key] = refused
  end
  if refused then blocked[#blocked + 1] = key end
  return refused
end

local gone

local function put_market(
    ticker, position, key, event, series, listed, score, expires, value, if_known)
  if expires ~= '' and tonumber(expires) <= now then
    return gone('m', ticker, position, if_known)
  end
  local old = load('m', ticker)
  local known = old
  if is_old(old, position) then return end
  local category = ''
  if listed == '1' then
    local parent = load('e', event)
    if parent then
      category = event_category(parent)
    else
      missing[#missing + 1] = event
      category = series_category(series)
    end
  end
  local members, by_category = members_key(event), category_key(category)
  if not (old and old[KEY] == key) and refuses(key, 'string') then return end
  if refuses_set(members) or (category ~= '' and refuses_set(by_category)) then return end
  if old and old[KEY] ~= '' and (old[KEY] ~= key or old[M_EVENT] ~= event or old[M_LISTED] ~= listed
      or old[M_CATEGORY] ~= category or old[M_SCORE] ~= score) then
    -- The value is written again below, in the same step: no reader can see it missing.
    unlink_market(ticker, old)
    old = nil
  end
  write_value(key, value, expires)
  if not old or old[KEY] == '' then
    later('HSET', MARKETS, ticker, key)
    later('SADD', members, ticker)
    if listed == '1' then
      if category ~= '' then later('SADD', by_category, ticker) end
      if score ~= '' then later('ZADD', EXPIRING, score, ticker) end
    end
  end
  if expires ~= '' or (known and (known[KEY] == '' or known[M_EXPIRES] ~= '')) then
    schedule('m', ticker, expires)
  end
  save('m', ticker, {position, generation, key, event, series, listed, category, score, expires})
  changed = changed + 1
end

-- An event without a key (key '') is still remembered: its markets need its category.
local function put_event(ticker, position, key, series, category, expires, value, if_known)
  local old = load('e', ticker)
  if expires ~= '' and tonumber(expires) <= now then key = '' end
  if is_old(old, position) or (not old and key == '' and if_known == '1') then return end
  if key ~= '' and not (old and old[KEY] == key) and refuses(key, 'string') then return end
  local before = old and event_category(old)
  if old and old[KEY] ~= key then unlink_event(ticker, old) end
  if old and old[E_CATEGORY] == '' and (old[E_SERIES] ~= series or category ~= '') then
    flush()
    redis.call('SREM', uncategorised_key(old[E_SERIES]), ticker)
  end
  if category == '' and series ~= '' then
    if refuses_set(uncategorised_key(series)) then return end
    later('SADD', uncategorised_key(series), ticker)
  end
  if key ~= '' then
    write_value(key, value, expires)
    later('HSET', EVENTS, ticker, key)
    if expires ~= '' or (old and (old[KEY] == '' or old[E_EXPIRES] ~= '')) then
      schedule('e', ticker, expires)
    end
  else
    schedule('e', ticker, now + TOMBSTONE_MS)
  end
  local record = {position, generation, key, series, category, expires}
  save('e', ticker, record)
  local after = event_category(record)
  if before ~= after then recategorise(ticker, after) end
  changed = changed + 1
end

-- A series without a key (key '') cannot be given to readers: its category still counts.
local function put_series(ticker, position, key, category, value)
  local old = load('s', ticker)
  if is_old(old, position) then return end
  if key ~= '' then
    if not (old and old[KEY] == key) and refuses(key, 'string') then return end
    write_value(key, value, '')
  elseif old then
    unlink('s', ticker, old)
  end
  if old and old[KEY] == '' then schedule('s', ticker, '') end
  save('s', ticker, {position, generation, key, category})
  if not old or old[S_CATEGORY] ~= category then
    flush()
    for _, event in ipairs(redis.call('SMEMBERS', uncategorised_key(ticker))) do
      local record = load('e', event)
      if record and record[E_SERIES] == ticker and record[E_CATEGORY] == '' then
        recategorise(event, category)
      end
    end
  end
  changed = changed + 1
end

local function write_fees(series, steps)
  flush()
  local live = {}
  table.sort(steps, function(a, b) return a[F_FROM] < b[F_FROM] end)
  for _, step in ipairs(steps) do
    if step[F_JSON] ~= '' then live[#live + 1] = step[F_JSON] end
  end
  local key = fee_key(series)
  if #live > 0 then
    redis.call('SET', key, '[' .. table.concat(live, ',') .. ']')
  else
    redis.call('DEL', key)
  end
  if #steps > 0 then
    save('f', series, steps)
  else
    records.f[series] = false
    redis.call('HDEL', OWN.f, series)
  end
end

local function put_fee(series, position, from, json, if_known)
  local steps = load('f', series) or {}
  if #steps == 0 and refuses(fee_key(series), 'string') then return end
  from = tonumber(from)
  local found
  for _, step in ipairs(steps) do
    if step[F_FROM] == from then found = step end
  end
  if found and position <= found[F_POS] then return end
  if not found and if_known == '1' then return end
  if found then
    found[F_POS], found[F_GEN], found[F_JSON] = position, generation, json
  else
    steps[#steps + 1] = {from, position, generation, json}
  end
  write_fees(series, steps)
  changed = changed + 1
end

-- Of a fee schedule that was read as a whole: steps that are not there any more.
local function only_steps(series, position, ...)
  local steps = load('f', series)
  if not steps then return end
  local there, dropped = {}, false
  for _, from in ipairs({...}) do there[tonumber(from)] = true end
  for _, step in ipairs(steps) do
    if step[F_JSON] ~= '' and not there[step[F_FROM]] and position > step[F_POS] then
      step[F_POS], step[F_GEN], step[F_JSON] = position, generation, ''
      dropped = true
    end
  end
  if dropped then
    write_fees(series, steps)
    changed = changed + 1
  end
end

-- A deleted row. An announced one (if_known) is not worth a tombstone where nothing is known.
gone = function(kind, ticker, position, if_known)
  local old = load(kind, ticker)
  if is_old(old, position) or (not old and if_known == '1') then return end
  local record = old
  if not record then
    record = kind == 'm' and {'', '', '', '', '', '0', '', '', ''}
      or kind == 'e' and {'', '', '', '', '', ''} or {'', '', '', ''}
  end
  local before = kind == 'e' and old and event_category(old)
  unlink(kind, ticker, record)
  record[POS], record[GEN] = position, generation
  if kind == 'e' then record[E_SERIES], record[E_CATEGORY] = '', '' end
  if kind == 's' then record[S_CATEGORY] = '' end
  bury(kind, ticker, record)
  if before and before ~= '' then recategorise(ticker, '') end
  changed = changed + 1
end

local PUT = {m = put_market, e = put_event, s = put_series, f = put_fee, d = only_steps, g = gone}

-- Rows come as one packed list: {{op, arguments…}, …}.
local function rows(packed)
  local list = cmsgpack.unpack(packed)
  local tickers = {m = {}, e = {}, s = {}, f = {}}
  for _, row in ipairs(list) do
    local op = row[1]
    local of = op == 'g' and tickers[row[2]] or tickers[op == 'd' and 'f' or op]
    of[#of + 1] = op == 'g' and row[3] or row[2]
    if op == 'm' and row[7] == '1' then tickers.e[#tickers.e + 1] = row[5] end
  end
  for kind, wanted in pairs(tickers) do fetch(kind, wanted) end
  local new = {}
  for _, row in ipairs(list) do
    local op = row[1]
    if op == 'm' or op == 'e' or op == 's' then
      local record = records[op][row[2]]
      if row[4] ~= '' and not (record and record[KEY] == row[4]) then new[#new + 1] = row[4] end
    end
  end
  -- Mostly none of the new keys is there, and need not be looked at one by one.
  none_exist = true
  for first = 1, #new, LIMIT do
    local last = math.min(first + LIMIT - 1, #new)
    if redis.call('EXISTS', unpack(new, first, last)) > 0 then none_exist = false end
  end
  for _, row in ipairs(list) do PUT[row[1]](unpack(row, 2)) end
  flush()
end
