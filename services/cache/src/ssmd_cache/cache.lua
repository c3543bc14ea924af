-- Everything that the cache changes in Redis passes through here: a call is one atomic step.
-- It checks the leader's fencing token first; an older leader that wakes up changes nothing.
--
-- KEYS[1] is secmaster:position. ARGV: action, key prefix, fencing token, then what the action takes.
-- The only clock is this server's, which is also the one that expires keys. The reply is an array: a word (OK, FENCED, LOST, GAP, BLOCKED) and details.
--
-- Bookkeeping, in secmaster:_cache:*, holds one record for each row that has a key, and for a while
-- for one that lost it (a tombstone, so that an older message cannot bring it back):
--   markets  {position, generation, key, event, series, listed, category, score, expires}
--   events   {position, generation, key, series, category, expires}
--   series   {position, generation, key, category}
--   fees     {{from, position, generation, json}, …}: a series' steps; json is '' for a tombstone
--   expiries sorted set: what the sweep must look at, and when
--   uncategorised:<series>  set: its events that have no category of their own
-- An empty string stands for "none" everywhere. Positions are fixed-width text that sorts.

local action, prefix = ARGV[1], ARGV[2]
local token = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local POSITION = KEYS[1]
local TOMBSTONE_MS = 3600000

local POS, GEN, KEY = 1, 2, 3
local M_EVENT, M_SERIES, M_LISTED, M_CATEGORY, M_SCORE, M_EXPIRES = 4, 5, 6, 7, 8, 9
local E_SERIES, E_CATEGORY, E_EXPIRES = 4, 5, 6
local S_CATEGORY = 4
local F_FROM, F_POS, F_GEN, F_JSON = 1, 2, 3, 4

local function name(text) return prefix .. 'secmaster:' .. text end
local function own(text) return prefix .. 'secmaster:_cache:' .. text end

local MARKETS, EVENTS, EXPIRING = name('markets'), name('events'), name('markets:expiring')
local OWN = {m = own('markets'), e = own('events'), s = own('series'), f = own('fees')}
local EXPIRIES = own('expiries')

local function foreign(key, wanted)
  local found = redis.call('TYPE', key).ok
  return found ~= 'none' and found ~= wanted
end

-- Reads and writes of one call are gathered: a record is read once, and whatever only adds is
-- written at the end, many at a time. What takes away flushes first.

local LIMIT = 2000
local records = {m = {}, e = {}, s = {}, f = {}}
local strings, pending = {}, {}

local function call_many(command, key, list)
  for first = 1, #list, LIMIT do
    local last = math.min(first + LIMIT - 1, #list)
    if key then
      redis.call(command, key, unpack(list, first, last))
    else
      redis.call(command, unpack(list, first, last))
    end
  end
end

local function flush()
  if #strings > 0 then
    local full = strings
    strings = {}
    call_many('MSET', nil, full)
  end
  local gathered = pending
  pending = {}
  for key, add in pairs(gathered) do call_many(add.command, key, add) end
end

local function later(command, key, one, other)
  local add = pending[key]
  if not add then
    add = {command = command}
    pending[key] = add
  end
  add[#add + 1] = one
  if other then add[#add + 1] = other end
end

local function fetch(kind, tickers)
  local known, wanted, asked = records[kind], {}, {}
  for _, ticker in ipairs(tickers) do
    if known[ticker] == nil and not asked[ticker] then
      asked[ticker] = true
      wanted[#wanted + 1] = ticker
    end
  end
  for first = 1, #wanted, LIMIT do
    local last = math.min(first + LIMIT - 1, #wanted)
    local raw = redis.call('HMGET', OWN[kind], unpack(wanted, first, last))
    for i = first, last do
      local packed = raw[i - first + 1]
      known[wanted[i]] = packed and cmsgpack.unpack(packed) or false
    end
  end
end

local function load(kind, ticker)
  local record = records[kind][ticker]
  if record == nil then
    local raw = redis.call('HGET', OWN[kind], ticker)
    record = raw and cmsgpack.unpack(raw) or false
    records[kind][ticker] = record
  end
  return record or nil
end

local function save(kind, ticker, record)
  records[kind][ticker] = record
  later('HSET', OWN[kind], ticker, cmsgpack.pack(record))
end

local function forget(kind, ticker)
  flush()
  records[kind][ticker] = false
  redis.call('HDEL', OWN[kind], ticker)
  redis.call('ZREM', EXPIRIES, kind .. ':' .. ticker)
end

local function schedule(kind, ticker, at)
  if at ~= '' then
    later('ZADD', EXPIRIES, at, kind .. ':' .. ticker)
  else
    flush()
    redis.call('ZREM', EXPIRIES, kind .. ':' .. ticker)
  end
end

local function write_value(key, value, expires)
  if expires == '' then
    strings[#strings + 1] = key
    strings[#strings + 1] = value
  else
    redis.call('SET', key, value, 'PXAT', expires)
  end
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

local function recategorise(event, category)
  flush()
  local members = redis.call('SMEMBERS', name('event_markets:' .. event))
  fetch('m', members)
  for _, ticker in ipairs(members) do
    local record = load('m', ticker)
    if record and record[M_LISTED] == '1' and record[M_CATEGORY] ~= category then
      if record[M_CATEGORY] ~= '' then
        redis.call('SREM', name('markets:by_category:' .. record[M_CATEGORY]), ticker)
      end
      if category ~= '' then
        later('SADD', name('markets:by_category:' .. category), ticker)
      end
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
  redis.call('SREM', name('event_markets:' .. record[M_EVENT]), ticker)
  if record[M_LISTED] == '1' then
    redis.call('ZREM', EXPIRING, ticker)
    if record[M_CATEGORY] ~= '' then
      redis.call('SREM', name('markets:by_category:' .. record[M_CATEGORY]), ticker)
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
    redis.call('SREM', own('uncategorised:' .. record[E_SERIES]), ticker)
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

-- Rows. `warm` writes whatever was there before; a streamed change only what is newer.

local warm, generation = false, ''
local changed, missing, blocked = 0, {}, {}

local function is_old(record, position)
  return record and not warm and position <= record[POS]
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
    return gone('m', ticker, position, warm and '1' or if_known)
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
  local members, by_category = name('event_markets:' .. event), name('markets:by_category:' .. category)
  if not (old and old[KEY] == key) and refuses(key, 'string') then return end
  if refuses_set(members) or (category ~= '' and refuses_set(by_category)) then return end
  if old and old[KEY] ~= '' and (old[KEY] ~= key or old[M_EVENT] ~= event or old[M_LISTED] ~= listed
      or old[M_CATEGORY] ~= category or old[M_SCORE] ~= score) then
    -- The value is written again below, in the same step: no reader can see it missing.
    unlink_market(ticker, old)
    old = nil
  end
  write_value(key, value, expires)
  if warm or not old or old[KEY] == '' then
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
    redis.call('SREM', own('uncategorised:' .. old[E_SERIES]), ticker)
  end
  if category == '' and series ~= '' then
    later('SADD', own('uncategorised:' .. series), ticker)
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

local function put_series(ticker, position, key, category, value)
  local old = load('s', ticker)
  if is_old(old, position) then return end
  if not (old and old[KEY] == key) and refuses(key, 'string') then return end
  write_value(key, value, '')
  if old and old[KEY] == '' then schedule('s', ticker, '') end
  save('s', ticker, {position, generation, key, category})
  if not old or old[S_CATEGORY] ~= category then
    flush()
    for _, event in ipairs(redis.call('SMEMBERS', own('uncategorised:' .. ticker))) do
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
  local key = name('fee:' .. series)
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
  if #steps == 0 and refuses(name('fee:' .. series), 'string') then return end
  from = tonumber(from)
  local found
  for _, step in ipairs(steps) do
    if step[F_FROM] == from then found = step end
  end
  if found and not warm and position <= found[F_POS] then return end
  if not found and if_known == '1' then return end
  if found then
    found[F_POS], found[F_GEN], found[F_JSON] = position, generation, json
  else
    steps[#steps + 1] = {from, position, generation, json}
  end
  write_fees(series, steps)
  changed = changed + 1
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

local PUT = {m = put_market, e = put_event, s = put_series, f = put_fee, g = gone}

-- Rows come as one packed list: {{op, arguments…}, …}.
local function rows(packed)
  local list = cmsgpack.unpack(packed)
  local tickers = {m = {}, e = {}, s = {}, f = {}}
  for _, row in ipairs(list) do
    local op = row[1]
    local of = op == 'g' and tickers[row[2]] or tickers[op]
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

-- The gate: foreign keys in our fixed places, then the fencing token.

local fixed = {POSITION, 'string', MARKETS, 'hash', EVENTS, 'hash', EXPIRING, 'zset',
  name('last_sync'), 'string', OWN.m, 'hash', OWN.e, 'hash', OWN.s, 'hash', OWN.f, 'hash', EXPIRIES, 'zset'}
for i = 1, #fixed, 2 do
  if foreign(fixed[i], fixed[i + 1]) then blocked[#blocked + 1] = fixed[i] end
end
if #blocked > 0 then return {'BLOCKED', blocked} end

local state
local text = redis.call('GET', POSITION)
if text then
  local readable, decoded = pcall(cjson.decode, text)
  if readable and type(decoded) == 'table' and type(decoded.token) == 'number' then state = decoded end
end
if state and state.token > token then return {'FENCED', tostring(state.token)} end

if action == 'claim' then
  if not state or state.v ~= 1 then
    redis.call('SET', POSITION, cjson.encode({v = 1, token = token, warm = false}))
  else
    state.token = token
    redis.call('SET', POSITION, cjson.encode(state))
  end
  return {'OK', redis.call('GET', POSITION)}
end

if not state or state.token ~= token then return {'LOST'} end

if action == 'position' then
  return {'OK', text}
end

if action == 'set' then  -- key, value: the position itself, last_sync, a request
  if ARGV[5] == '' then redis.call('DEL', ARGV[4]) else redis.call('SET', ARGV[4], ARGV[5]) end
  return {'OK'}
end

if action == 'warm' then  -- generation, rows
  warm, generation = true, ARGV[4]
  rows(ARGV[5])
  return {'OK', changed, missing, blocked}
end

if action == 'apply' then  -- first and last stream sequence, generation, new position, rows
  local first, last, at = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(state.sequence or -1)
  if not state.warm then return {'LOST'} end
  if last > 0 and last <= at then return {'OK', 0, missing, blocked} end
  if last > 0 and first > at + 1 then return {'GAP', tostring(at)} end
  generation = ARGV[6]
  rows(ARGV[8])
  if ARGV[7] ~= '' then redis.call('SET', POSITION, ARGV[7]) end
  return {'OK', changed, missing, blocked}
end

if action == 'sweep' then  -- how many at most
  local swept = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', now, 'LIMIT', 0, ARGV[4])) do
    local kind, ticker = string.sub(member, 1, 1), string.sub(member, 3)
    local record = load(kind, ticker)
    local expires = record and (kind == 'm' and record[M_EXPIRES] or kind == 'e' and record[E_EXPIRES])
    local has_markets = kind == 'e' and redis.call('EXISTS', name('event_markets:' .. ticker)) == 1
    if not record then
      redis.call('ZREM', EXPIRIES, member)
    elseif record[KEY] ~= '' and (not expires or expires == '' or tonumber(expires) > now) then
      schedule(kind, ticker, expires or '')
    elseif record[KEY] ~= '' then
      swept = swept + 1
      if kind == 'e' then
        -- Its category stays known as long as it has markets.
        unlink_event(ticker, record)
        record[KEY] = ''
        save(kind, ticker, record)
        schedule(kind, ticker, now + TOMBSTONE_MS)
      else
        bury(kind, ticker, record)
      end
    elseif has_markets then
      schedule(kind, ticker, now + TOMBSTONE_MS)
    else
      if kind == 'e' then redis.call('SREM', own('uncategorised:' .. record[E_SERIES]), ticker) end
      forget(kind, ticker)
    end
  end
  flush()
  return {'OK', swept}
end

if action == 'prune' then  -- kind, cursor, count, 'epoch' or 'generation', bound
  local kind, by, bound = ARGV[4], ARGV[7], ARGV[8]
  local function belongs(position, of)
    if by == 'epoch' then return string.sub(position, 1, 8) >= bound end
    return of == bound
  end
  local dropped, live, categorised, scored = 0, 0, 0, 0
  local page = redis.call('HSCAN', OWN[kind], ARGV[5], 'COUNT', ARGV[6])
  for i = 1, #page[2], 2 do
    local ticker, record = page[2][i], cmsgpack.unpack(page[2][i + 1])
    if kind == 'f' then
      local kept = {}
      for _, step in ipairs(record) do
        if belongs(step[F_POS], step[F_GEN]) then kept[#kept + 1] = step end
      end
      if #kept < #record then
        dropped = dropped + #record - #kept
        write_fees(ticker, kept)
      end
      for _, step in ipairs(kept) do
        if step[F_JSON] ~= '' then
          live = live + 1
          break
        end
      end
    elseif not belongs(record[POS], record[GEN]) then
      unlink(kind, ticker, record)
      forget(kind, ticker)
      dropped = dropped + 1
    elseif record[KEY] ~= '' then
      live = live + 1
      if kind == 'm' and record[M_LISTED] == '1' then
        if record[M_CATEGORY] ~= '' then categorised = categorised + 1 end
        if record[M_SCORE] ~= '' then scored = scored + 1 end
      end
    end
  end
  flush()
  return {'OK', page[1], dropped, live, categorised, scored}
end

-- Removing what no record accounts for: leftovers of another version, or of someone's hand.

local function owned(kind, ticker, key)
  local record = load(kind, ticker)
  return record and record[KEY] == key
end

-- The kind and ticker that a value's key tells, where no ticker has a colon in it.
local function told_by(rest)
  local parts = {}
  for part in string.gmatch(rest, '[^:]+') do parts[#parts + 1] = part end
  return ({'s', 'e', 'm'})[#parts], parts[#parts]
end

local function value_is_ours(key, kind, ticker)
  if kind and owned(kind, ticker, key) then return true end
  local readable, row = pcall(cjson.decode, redis.call('GET', key))
  if not readable or type(row) ~= 'table' then return false end
  return owned('m', tostring(row.ticker), key) or owned('e', tostring(row.event_ticker), key)
    or owned('s', tostring(row.ticker), key)
end

local function scrub_members(key, rest, fits)
  local dropped, members = 0, redis.call('SMEMBERS', key)
  fetch('m', members)
  for _, ticker in ipairs(members) do
    local record = load('m', ticker)
    if not (record and record[KEY] ~= '' and fits(record, rest)) then
      redis.call('SREM', key, ticker)
      dropped = dropped + 1
    end
  end
  return dropped
end

local function in_event(record, event) return record[M_EVENT] == event end
local function in_category(record, category)
  return record[M_LISTED] == '1' and record[M_CATEGORY] == category
end

local FAMILIES = {
  {'fee:', 'string', function(key, rest)
    if load('f', rest) then return 0 end
    redis.call('DEL', key)
    return 1
  end},
  {'event_markets:', 'set', function(key, rest) return scrub_members(key, rest, in_event) end},
  {'markets:by_category:', 'set', function(key, rest) return scrub_members(key, rest, in_category) end},
}

if action == 'scrub_keys' then  -- keys…: as a SCAN found them
  local dropped, start = 0, #prefix + #'secmaster:' + 1
  local values, tickers = {}, {m = {}, e = {}, s = {}}
  for i = 4, #ARGV do
    local key = ARGV[i]
    local rest = string.sub(key, start)
    if string.sub(rest, 1, 7) == 'series:' then
      local kind, ticker = told_by(string.sub(rest, 8))
      values[#values + 1] = {key, kind, ticker}
      if kind then tickers[kind][#tickers[kind] + 1] = ticker end
    else
      for _, family in ipairs(FAMILIES) do
        if string.sub(rest, 1, #family[1]) == family[1] then
          if foreign(key, family[2]) then
            blocked[#blocked + 1] = key
          elseif redis.call('EXISTS', key) == 1 then
            dropped = dropped + family[3](key, string.sub(rest, #family[1] + 1))
          end
          break
        end
      end
    end
  end
  for kind, wanted in pairs(tickers) do fetch(kind, wanted) end
  for _, value in ipairs(values) do
    local key, kind, ticker = value[1], value[2], value[3]
    if not (kind and owned(kind, ticker, key)) then
      if foreign(key, 'string') then
        blocked[#blocked + 1] = key
      elseif redis.call('EXISTS', key) == 1 and not value_is_ours(key, kind, ticker) then
        redis.call('DEL', key)
        dropped = dropped + 1
      end
    end
  end
  return {'OK', dropped, blocked}
end

if action == 'scrub_index' then  -- 'm', 'e' or 'z', cursor, count
  local dropped = 0
  local which = ARGV[4]
  local index = which == 'm' and MARKETS or which == 'e' and EVENTS or EXPIRING
  local page = redis.call(which == 'z' and 'ZSCAN' or 'HSCAN', index, ARGV[5], 'COUNT', ARGV[6])
  local members = {}
  for i = 1, #page[2], 2 do members[#members + 1] = page[2][i] end
  fetch(which == 'e' and 'e' or 'm', members)
  for i = 1, #page[2], 2 do
    local ticker, content = page[2][i], page[2][i + 1]
    if which == 'z' then
      local record = load('m', ticker)
      if not (record and record[KEY] ~= '' and record[M_LISTED] == '1' and record[M_SCORE] ~= '') then
        redis.call('ZREM', index, ticker)
        dropped = dropped + 1
      end
    elseif not owned(which, ticker, content) then
      redis.call('HDEL', index, ticker)
      dropped = dropped + 1
    end
  end
  return {'OK', page[1], dropped}
end

return redis.error_reply('ERR unknown action ' .. action)
