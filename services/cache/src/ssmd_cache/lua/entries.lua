-- Which index entries a row has, as its record says: the one place in Lua (for readers' indexes
-- projection/project.py has the same). Whatever adds, takes out, looks for or judges entries visits
-- them here.

-- Calls visit(type, key, member, content); content is empty in a set.
local function each_entry(kind, ticker, record, visit)
  if kind == 'e' and record[E_CATEGORY] == '' and record[E_SERIES] ~= '' then
    visit('set', uncategorised_key(record[E_SERIES]), ticker, '')
  end
  if record[R_KEY] == '' then return end
  if kind == 'm' then
    visit('hash', MARKETS, ticker, record[R_KEY])
    visit('set', members_key(record[M_EVENT]), ticker, '')
    if record[M_CATEGORY] ~= '' then visit('set', category_key(record[M_CATEGORY]), ticker, '') end
    if record[M_CLOSES] ~= '' then visit('zset', EXPIRING, ticker, record[M_CLOSES]) end
  elseif kind == 'e' then
    visit('hash', EVENTS, ticker, record[R_KEY])
  end
end

-- Fields of a record that say where its row's value and entries are.
local PLACING = {
  m = {R_KEY, M_EVENT, M_LISTED, M_CATEGORY, M_CLOSES},
  e = {R_KEY, E_SERIES, E_CATEGORY},
  s = {R_KEY},
}

local function same_place(kind, one, other)
  for _, field in ipairs(PLACING[kind]) do
    if one[field] ~= other[field] then return false end
  end
  return true
end

local function put_in(type, key, member, content)
  if type == 'hash' then
    later('HSET', key, member, content)
  elseif type == 'set' then
    later('SADD', key, member)
  else
    later('ZADD', key, content, member)
  end
end

local REMOVE = {hash = 'HDEL', set = 'SREM', zset = 'ZREM'}

-- Someone else may have put another type there since: then there is nothing of ours to take out.
local function leave(type, key, member)
  redis.pcall(REMOVE[type], key, member)
end

-- Taking a row out of whatever its record says it is in.
local function take_out(kind, ticker, record)
  flush()
  if record[R_KEY] ~= '' then redis.call('DEL', record[R_KEY]) end
  each_entry(kind, ticker, record, leave)
end

local EXPIRES = {m = M_EXPIRES, e = E_EXPIRES}

local function expires_of(kind, record)
  return EXPIRES[kind] and record[EXPIRES[kind]] or ''
end

local function has_ended(kind, record)
  local expires = expires_of(kind, record)
  return expires ~= '' and tonumber(expires) <= now
end

-- When the sweep must look at a row: at its end, or when its tombstone has served. A series without
-- a key whose category counts is none.
local function look_at(kind, record)
  if record[R_KEY] ~= '' then return expires_of(kind, record) end
  if kind == 's' and record[S_CATEGORY] ~= '' then return '' end
  return now + TOMBSTONE_MS
end
