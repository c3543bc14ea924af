-- Everything that the cache changes in Redis passes through here: a call is one atomic step.
-- It checks the leader's fencing token first; an older leader that wakes up changes nothing.
--
-- KEYS[1] is secmaster:position. ARGV: action, key prefix, fencing token, now in milliseconds, then
-- what the action takes. The reply is an array: a word (OK, FENCED, LOST, GAP, BLOCKED) and details.
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
local token, now = tonumber(ARGV[3]), tonumber(ARGV[4])
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

local function load(kind, ticker)
  local raw = redis.call('HGET', OWN[kind], ticker)
  return raw and cmsgpack.unpack(raw) or nil
end

local function save(kind, ticker, record)
  redis.call('HSET', OWN[kind], ticker, cmsgpack.pack(record))
end

local function forget(kind, ticker)
  redis.call('HDEL', OWN[kind], ticker)
  redis.call('ZREM', EXPIRIES, kind .. ':' .. ticker)
end

local function schedule(kind, ticker, at)
  if at == '' then
    redis.call('ZREM', EXPIRIES, kind .. ':' .. ticker)
  else
    redis.call('ZADD', EXPIRIES, at, kind .. ':' .. ticker)
  end
end

local function write_value(key, value, expires)
  if expires == '' then
    redis.call('SET', key, value)
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
  for _, ticker in ipairs(redis.call('SMEMBERS', name('event_markets:' .. event))) do
    local record = load('m', ticker)
    if record and record[M_LISTED] == '1' and record[M_CATEGORY] ~= category then
      if record[M_CATEGORY] ~= '' then
        redis.call('SREM', name('markets:by_category:' .. record[M_CATEGORY]), ticker)
      end
      if category ~= '' then
        redis.call('SADD', name('markets:by_category:' .. category), ticker)
      end
      record[M_CATEGORY] = category
      save('m', ticker, record)
    end
  end
end

-- Taking a row out of whatever its record says it is in.

local function unlink_market(ticker, record)
  if record[KEY] == '' then return end
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
  redis.call('DEL', record[KEY])
  redis.call('HDEL', EVENTS, ticker)
end

local function unlink(kind, ticker, record)
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

local function owner_refuses(...)
  local wanted = {...}
  for i = 1, #wanted, 2 do
    if foreign(wanted[i], wanted[i + 1]) then
      blocked[#blocked + 1] = wanted[i]
      return true
    end
  end
  return false
end

local function put_market(ticker, position, key, event, series, listed, score, expires, value)
  local old = load('m', ticker)
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
  if owner_refuses(key, 'string', members, 'set', by_category, 'set') then return end
  if old and old[KEY] ~= '' and (old[KEY] ~= key or old[M_EVENT] ~= event or old[M_LISTED] ~= listed
      or old[M_CATEGORY] ~= category or old[M_SCORE] ~= score) then
    -- The value is written again below, in the same step: no reader can see it missing.
    unlink_market(ticker, old)
    old = nil
  end
  write_value(key, value, expires)
  if warm or not old or old[KEY] == '' then
    redis.call('HSET', MARKETS, ticker, key)
    redis.call('SADD', members, ticker)
    if listed == '1' then
      if category ~= '' then redis.call('SADD', by_category, ticker) end
      if score ~= '' then redis.call('ZADD', EXPIRING, score, ticker) end
    end
  end
  if expires ~= '' or (old and (old[KEY] == '' or old[M_EXPIRES] ~= '')) or not old then
    schedule('m', ticker, expires)
  end
  save('m', ticker, {position, generation, key, event, series, listed, category, score, expires})
  changed = changed + 1
end

-- An event without a key (key '') is still remembered: its markets need its category.
local function put_event(ticker, position, key, series, category, expires, value, if_known)
  local old = load('e', ticker)
  if is_old(old, position) or (not old and if_known == '1') then return end
  if key ~= '' and owner_refuses(key, 'string') then return end
  local before = old and event_category(old)
  if old and old[KEY] ~= key then unlink_event(ticker, old) end
  if old and (old[E_SERIES] ~= series or category ~= '') then
    redis.call('SREM', own('uncategorised:' .. old[E_SERIES]), ticker)
  end
  if category == '' and series ~= '' then
    redis.call('SADD', own('uncategorised:' .. series), ticker)
  end
  if key ~= '' then
    write_value(key, value, expires)
    redis.call('HSET', EVENTS, ticker, key)
    schedule('e', ticker, expires)
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
  if owner_refuses(key, 'string') then return end
  write_value(key, value, '')
  schedule('s', ticker, '')
  save('s', ticker, {position, generation, key, category})
  if not old or old[S_CATEGORY] ~= category then
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
  if #steps > 0 then save('f', series, steps) else redis.call('HDEL', OWN.f, series) end
end

local function put_fee(series, position, from, json, if_known)
  local steps = load('f', series) or {}
  if owner_refuses(name('fee:' .. series), 'string') then return end
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
local function gone(kind, ticker, position, if_known)
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

local ARITY = {m = 9, e = 8, s = 5, f = 5, g = 4}
local PUT = {m = put_market, e = put_event, s = put_series, f = put_fee, g = gone}

local function rows(first)
  local i = first
  while i <= #ARGV do
    local op = ARGV[i]
    local arity = ARITY[op]
    PUT[op](unpack(ARGV, i + 1, i + arity))
    i = i + 1 + arity
  end
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
  if ARGV[6] == '' then redis.call('DEL', ARGV[5]) else redis.call('SET', ARGV[5], ARGV[6]) end
  return {'OK'}
end

if action == 'warm' then  -- generation, rows…
  warm, generation = true, ARGV[5]
  rows(6)
  return {'OK', changed, missing, blocked}
end

if action == 'apply' then  -- first and last stream sequence, generation, new position, rows…
  local first, last, at = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(state.sequence or -1)
  if not state.warm then return {'LOST'} end
  if last > 0 and last <= at then return {'OK', 0, missing, blocked} end
  if last > 0 and first > at + 1 then return {'GAP', tostring(at)} end
  generation = ARGV[7]
  rows(9)
  if ARGV[8] ~= '' then redis.call('SET', POSITION, ARGV[8]) end
  return {'OK', changed, missing, blocked}
end

if action == 'sweep' then  -- how many at most
  local swept = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', now, 'LIMIT', 0, ARGV[5])) do
    local kind, ticker = string.sub(member, 1, 1), string.sub(member, 3)
    local record = load(kind, ticker)
    if not record then
      redis.call('ZREM', EXPIRIES, member)
    elseif record[KEY] ~= '' then
      swept = swept + 1
      if kind == 'e' and redis.call('EXISTS', name('event_markets:' .. ticker)) == 1 then
        unlink_event(ticker, record)
        record[KEY] = ''
        save(kind, ticker, record)
        schedule(kind, ticker, now + TOMBSTONE_MS)
      else
        bury(kind, ticker, record)
      end
    elseif kind == 'e' and redis.call('EXISTS', name('event_markets:' .. ticker)) == 1 then
      schedule(kind, ticker, now + TOMBSTONE_MS)
    else
      if kind == 'e' then redis.call('SREM', own('uncategorised:' .. record[E_SERIES]), ticker) end
      forget(kind, ticker)
    end
  end
  return {'OK', swept}
end

if action == 'prune' then  -- kind, cursor, count, 'epoch' or 'generation', bound
  local kind, by, bound = ARGV[5], ARGV[8], ARGV[9]
  local function belongs(position, of)
    if by == 'epoch' then return string.sub(position, 1, 8) >= bound end
    return of == bound
  end
  local dropped = 0
  local page = redis.call('HSCAN', OWN[kind], ARGV[6], 'COUNT', ARGV[7])
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
    elseif not belongs(record[POS], record[GEN]) then
      unlink(kind, ticker, record)
      forget(kind, ticker)
      dropped = dropped + 1
    end
  end
  return {'OK', page[1], dropped}
end

-- Removing what no record accounts for: leftovers of another version, or of someone's hand.

local function owned(kind, ticker, key)
  local record = load(kind, ticker)
  return record and record[KEY] == key
end

local function value_is_ours(key, rest)
  local parts = {}
  for part in string.gmatch(rest, '[^:]+') do parts[#parts + 1] = part end
  local kind = ({'s', 'e', 'm'})[#parts]
  if kind and owned(kind, parts[#parts], key) then return true end
  local readable, row = pcall(cjson.decode, redis.call('GET', key))
  if not readable or type(row) ~= 'table' then return false end
  return owned('m', tostring(row.ticker), key) or owned('e', tostring(row.event_ticker), key)
    or owned('s', tostring(row.ticker), key)
end

local function scrub_members(key, rest, fits)
  local dropped = 0
  for _, ticker in ipairs(redis.call('SMEMBERS', key)) do
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
  {'series:', 'string', function(key, rest)
    if value_is_ours(key, rest) then return 0 end
    redis.call('DEL', key)
    return 1
  end},
  {'fee:', 'string', function(key, rest)
    if load('f', rest) then return 0 end
    redis.call('DEL', key)
    return 1
  end},
  {'event_markets:', 'set', function(key, rest) return scrub_members(key, rest, in_event) end},
  {'markets:by_category:', 'set', function(key, rest) return scrub_members(key, rest, in_category) end},
}

if action == 'scrub_keys' then  -- keys…: as a SCAN found them
  local dropped = 0
  for i = 5, #ARGV do
    local key = ARGV[i]
    local rest = string.sub(key, #prefix + #'secmaster:' + 1)
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
  return {'OK', dropped, blocked}
end

if action == 'scrub_index' then  -- 'm', 'e' or 'z', cursor, count
  local dropped = 0
  local which = ARGV[5]
  local index = which == 'm' and MARKETS or which == 'e' and EVENTS or EXPIRING
  local page = redis.call(which == 'z' and 'ZSCAN' or 'HSCAN', index, ARGV[6], 'COUNT', ARGV[7])
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
