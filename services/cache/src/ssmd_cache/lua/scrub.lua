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
