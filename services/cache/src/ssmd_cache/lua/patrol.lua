-- A look at some rows' records: what should be in the indexes is put back where it is missing, and
-- rows whose values are missing are told. Nothing is taken out, so that it never is in the way.

-- Members of one index that are not there, of those given as a list of {member, …}.
local function absent(command, key, rows)
  local lost = {}
  for first = 1, #rows, LIMIT do
    local last = math.min(first + LIMIT - 1, #rows)
    local names = {}
    for i = first, last do names[#names + 1] = rows[i][1] end
    for i, found in ipairs(redis.call(command, key, unpack(names))) do
      if not found or found == 0 then lost[#lost + 1] = rows[first + i - 1] end
    end
  end
  return lost
end

if action == 'patrol' then  -- kind, cursor, count
  if not state.warm then return {'LOST'} end
  local kind, mended, valueless = ARGV[4], 0, {}
  local page = redis.call('HSCAN', OWN[kind], ARGV[5], 'COUNT', ARGV[6])
  local sets, keyed, values, looked_at = {}, {}, {}, 0

  local function belongs(key, row)
    local list = sets[key]
    if not list then
      list = {}
      sets[key] = list
    end
    list[#list + 1] = row
  end

  for i = 1, #page[2], 2 do
    local ticker, record = page[2][i], unpacked(page[2][i + 1])
    looked_at = looked_at + 1
    if record and kind == 'f' then
      local live = false
      for _, step in ipairs(record) do live = live or step[F_JSON] ~= '' end
      if live then values[#values + 1] = {fee_key(ticker), ticker, record} end
    elseif record and record[KEY] ~= '' then
      local expires = kind == 'm' and record[M_EXPIRES] or kind == 'e' and record[E_EXPIRES] or ''
      -- What has ended is for the sweep.
      if expires == '' or tonumber(expires) > now then
        values[#values + 1] = {record[KEY], ticker, record}
        if kind ~= 's' then keyed[#keyed + 1] = {ticker, record[KEY]} end
        if kind == 'm' then
          belongs(members_key(record[M_EVENT]), {ticker})
          if record[M_LISTED] == '1' then
            if record[M_CATEGORY] ~= '' then belongs(category_key(record[M_CATEGORY]), {ticker}) end
            if record[M_SCORE] ~= '' then belongs(EXPIRING, {ticker, record[M_SCORE]}) end
          end
        end
      end
    end
  end

  local index = kind == 'm' and MARKETS or EVENTS
  for _, row in ipairs(absent('HMGET', index, keyed)) do
    later('HSET', index, row[1], row[2])
    mended = mended + 1
  end
  for key, rows in pairs(sets) do
    local is_set = key ~= EXPIRING
    if not (is_set and foreign(key, 'set')) then
      for _, row in ipairs(absent(is_set and 'SMISMEMBER' or 'ZMSCORE', key, rows)) do
        if is_set then later('SADD', key, row[1]) else later('ZADD', key, row[2], row[1]) end
        mended = mended + 1
      end
    end
  end
  flush()

  local names = {}
  for i, value in ipairs(values) do names[i] = value[1] end
  local there = 0
  for first = 1, #names, LIMIT do
    there = there + redis.call('EXISTS', unpack(names, first, math.min(first + LIMIT - 1, #names)))
  end
  if there < #values then
    for _, value in ipairs(values) do
      if redis.call('EXISTS', value[1]) == 0 then
        if kind == 'f' then
          write_fees(value[2], value[3])
          mended = mended + 1
        else
          valueless[#valueless + 1] = value[2]
          valueless[#valueless + 1] = value[3][POS]
        end
      end
    end
    flush()
  end
  return {'OK', page[1], looked_at, mended, valueless}
end
