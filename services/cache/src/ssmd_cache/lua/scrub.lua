-- The end of a warm-up that began beside something: what no record accounts for goes. It was left by
-- the row's state before, by another version, or by someone's hand.

local MEMBERS_MOST = 2000

local function owned(kind, ticker, key)
  local record = load(kind, ticker)
  return record and record[R_KEY] == key
end

-- The kind and ticker that a value's key tells.
local function told_by(rest)
  local parts = {}
  for part in string.gmatch(rest .. ':', '([^:]*):') do parts[#parts + 1] = part end
  return ({'s', 'e', 'm'})[#parts], from_token(parts[#parts])
end

local function value_is_ours(key, rest)
  local kind, ticker = told_by(rest)
  return kind and owned(kind, ticker, key)
end

local function fee_is_ours(key, rest)
  local series = from_token(rest)
  return fee_key(series) == key and load('f', series)
end

-- Values: who says whether one belongs. Indexes: their type, and of which rows the members are.
local VALUES = {['series:'] = value_is_ours, ['fee:'] = fee_is_ours}
local INDEXES = {
  markets = {'hash', 'm'}, events = {'hash', 'e'}, ['markets:expiring'] = {'zset', 'm'},
  ['event_markets:'] = {'set', 'm'}, ['markets:by_category:'] = {'set', 'm'},
  ['_cache:uncategorised:'] = {'set', 'e'},
}
local SCAN = {hash = 'HSCAN', set = 'SSCAN', zset = 'ZSCAN'}

-- What a key is by its name: who judges a value, or an index; and the rest of the name.
local function known(key)
  local text = string.sub(key, #prefix + #'secmaster:' + 1)
  if INDEXES[text] then return nil, INDEXES[text], '' end
  local family = string.match(text, '^[^:]*:')
  if family == 'markets:' or family == '_cache:' then family = string.match(text, '^[^:]*:[^:]*:') end
  if not family then return nil end
  return VALUES[family], INDEXES[family], string.sub(text, #family + 1)
end

-- Whether a row is in an index, by its record: of a hash also with what its field holds.
local wanted, holds, is_there

local function compare(type, key, _, content)
  if key == wanted and (type ~= 'hash' or content == holds) then is_there = true end
end

local function belongs(kind, ticker, key, content)
  local record = load(kind, ticker)
  wanted, holds, is_there = key, content, false
  if record then each_entry(kind, ticker, record, compare) end
  return is_there
end

-- One page of an index; where the next begins, how many were looked at, and how many are gone.
local function scrub_page(key, index, cursor)
  local page = redis.call(SCAN[index[1]], key, cursor, 'COUNT', 500)
  local step = index[1] == 'set' and 1 or 2
  local members, dropped = {}, 0
  for i = 1, #page[2], step do members[#members + 1] = page[2][i] end
  fetch(index[2], members)
  for i, ticker in ipairs(members) do
    if not belongs(index[2], ticker, key, page[2][i * step]) then
      redis.call(REMOVE[index[1]], key, ticker)
      dropped = dropped + 1
    end
  end
  return page[1], #members, dropped
end

if action == 'foreign' then  -- keys…: which of them hold another type than ours
  for i = 4, #ARGV do
    local judge, index = known(ARGV[i])
    if (judge or index) and foreign(ARGV[i], index and index[1] or 'string') then
      blocked[#blocked + 1] = ARGV[i]
    end
  end
  return {'OK', blocked}
end

if action == 'scrub' then  -- keys…; indexes that are too long for one call are told
  local dropped, seen, unfinished, values = 0, 0, {}, {}
  local tickers = {m = {}, e = {}, s = {}}
  for i = 4, #ARGV do
    local key = ARGV[i]
    local judge, index, rest = known(key)
    if judge then
      local kind, ticker = told_by(rest)
      values[#values + 1] = {key, rest, judge}
      if judge == value_is_ours and kind then tickers[kind][#tickers[kind] + 1] = ticker end
    elseif index and not foreign(key, index[1]) then
      local cursor, looked_at, gone_now = '0', 0, 0
      local fits = seen < MEMBERS_MOST
      if fits then cursor, looked_at, gone_now = scrub_page(key, index, cursor) end
      seen, dropped = seen + looked_at, dropped + gone_now
      if not fits or cursor ~= '0' then
        unfinished[#unfinished + 1] = key
      end
    end
  end
  for kind, wanted in pairs(tickers) do fetch(kind, wanted) end
  for _, value in ipairs(values) do
    local key, rest, judge = value[1], value[2], value[3]
    if not judge(key, rest) and redis.call('TYPE', key).ok == 'string' then
      redis.call('DEL', key)
      dropped = dropped + 1
    end
  end
  return {'OK', dropped, unfinished}
end

if action == 'scrub_index' then  -- key, cursor: one page
  local _, index = known(ARGV[4])
  local cursor, _, dropped = scrub_page(ARGV[4], index, ARGV[5])
  return {'OK', cursor, dropped}
end

return redis.error_reply('ERR unknown action ' .. action)
