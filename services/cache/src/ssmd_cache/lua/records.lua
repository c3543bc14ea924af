-- All that the cache changes in Redis passes through one script, a call of which is one atomic step;
-- only the rows of a warm-up are written by plain commands (warmup/fill.py). A row of the stream goes
-- through these parts from top to bottom:
--   records  what a call is given, records and how they are read and written, each once in a call
--   entries  which index entries a row has by its record, putting them in and taking them out
--   put      a row is written if it is newer than its record; categories
--   fees     the same for the steps of a fee schedule
--   rows     a batch of them
--   gate     where a call of an older leader ends, having changed nothing
--   actions, patrol, scrub  what a call may ask for
--
-- KEYS[1] is secmaster:position. ARGV: action, key prefix, fencing token, then what the action takes.
-- The only clock is this server's, which is also the one that expires keys. The reply is an array:
-- a word (OK, FENCED, LOST, GAP, BLOCKED) and details.
--
-- What a record holds, projection/records.py says; the places of its fields (R_KEY, M_EVENT, ...) are
-- defined from there, before this line. Kinds are m(arkets), e(vents), s(eries), f(ees).

local action, prefix = ARGV[1], ARGV[2]
local token = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local POSITION = KEYS[1]
local TOMBSTONE_MS = 3600000
local VERSION = 2  -- of the position, as writer/position.py has it

local function name(text) return prefix .. 'secmaster:' .. text end
local function own(text) return prefix .. 'secmaster:_cache:' .. text end

-- A ticker or category as it stands in a key (ssmd_common.keys), and back.
local function as_token(text)
  if not string.find(text, '[%%:]') then return text end
  return (string.gsub(text, '[%%:]', {['%'] = '%25', [':'] = '%3A'}))
end

local function from_token(text)
  return (string.gsub(string.gsub(text, '%%3A', ':'), '%%25', '%%'))
end

local function members_key(event) return name('event_markets:' .. as_token(event)) end
local function category_key(category) return name('markets:by_category:' .. as_token(category)) end
local function uncategorised_key(series) return own('uncategorised:' .. as_token(series)) end
local function fee_key(series) return name('fee:' .. as_token(series)) end

local MARKETS, EVENTS, EXPIRING = name('markets'), name('events'), name('markets:expiring')
local OWN = {m = own('markets'), e = own('events'), s = own('series'), f = own('fees')}
local EXPIRIES = own('expiries')

-- Keys of ours that hold someone else's type, and so were left alone.
local blocked = {}

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

-- A record; false for what is none, as someone else may have put it there.
local function unpacked(raw)
  local readable, record = pcall(cmsgpack.unpack, raw)
  return readable and type(record) == 'table' and record[1] ~= nil and record
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
      known[wanted[i]] = packed and unpacked(packed) or false
    end
  end
end

local function load(kind, ticker)
  local record = records[kind][ticker]
  if record == nil then
    local raw = redis.call('HGET', OWN[kind], ticker)
    record = raw and unpacked(raw) or false
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
