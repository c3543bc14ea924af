-- A look at some rows' records: what should be in the indexes is put back where it is missing, and
-- rows whose values are missing are told. Nothing is taken out, so that it never is in the way.

local LOOK = {hash = 'HMGET', set = 'SMISMEMBER', zset = 'ZMSCORE'}

-- Members of one index that are not there, of those given as a list of {member, content}.
local function absent(type, key, rows)
  local lost = {}
  for first = 1, #rows, LIMIT do
    local last = math.min(first + LIMIT - 1, #rows)
    local names = {}
    for i = first, last do names[#names + 1] = rows[i][1] end
    for i, found in ipairs(redis.call(LOOK[type], key, unpack(names))) do
      if not found or found == 0 then lost[#lost + 1] = rows[first + i - 1] end
    end
  end
  return lost
end

if action == 'patrol' then  -- kind, cursor, count
  if not state.warm then return {'LOST'} end
  local kind, mended, valueless = ARGV[4], 0, {}
  local page = redis.call('HSCAN', OWN[kind], ARGV[5], 'COUNT', ARGV[6])
  local indexes, values, looked_at = {}, {}, 0

  local function expect(type, key, member, content)
    local index = indexes[key]
    if not index then
      index = {type = type}
      indexes[key] = index
    end
    index[#index + 1] = {member, content}
  end

  for i = 1, #page[2], 2 do
    local ticker, record = page[2][i], unpacked(page[2][i + 1])
    looked_at = looked_at + 1
    if record and kind == 'f' then
      local live = false
      for _, step in ipairs(record) do live = live or step[F_JSON] ~= '' end
      if live then values[#values + 1] = {fee_key(ticker), ticker, record} end
    -- What has ended is for the sweep.
    elseif record and record[R_KEY] ~= '' and not has_ended(kind, record) then
      values[#values + 1] = {record[R_KEY], ticker, record}
      each_entry(kind, ticker, record, expect)
    end
  end

  for key, index in pairs(indexes) do
    if index.type ~= 'set' or not foreign(key, 'set') then
      for _, row in ipairs(absent(index.type, key, index)) do
        put_in(index.type, key, row[1], row[2])
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
          valueless[#valueless + 1] = value[3][R_POSITION]
        end
      end
    end
    flush()
  end
  return {'OK', page[1], looked_at, mended, valueless}
end
