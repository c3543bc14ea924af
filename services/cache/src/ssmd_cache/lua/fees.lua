-- A step of a fee schedule as the stream or PostgreSQL has it: it counts if it is newer than its
-- record. The value is the whole schedule, made of the records of its steps.

local function write_fees(series, steps)
  flush()
  local live = {}
  table.sort(steps, function(a, b) return a[F_START] < b[F_START] end)
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

-- A step, or without JSON that it is gone.
local function put_fee(series, step, json, known_only)
  local steps = load('f', series) or {}
  if #steps == 0 and refuses(fee_key(series), 'string') then return end
  local at = #steps + 1
  for i, other in ipairs(steps) do
    if other[F_START] == step[F_START] then at = i end
  end
  if steps[at] and step[F_POSITION] <= steps[at][F_POSITION] then return end
  step[F_GENERATION], step[F_JSON] = generation, json
  steps[at] = step
  write_fees(series, steps)
  changed = changed + 1
end

-- Of a fee schedule that was read as a whole: steps that are not there any more.
local function only_steps(series, whole)
  local steps = load('f', series)
  if not steps then return end
  local position, there, dropped = whole[1], {}, false
  for _, start in ipairs(whole[2]) do there[start] = true end
  for _, step in ipairs(steps) do
    if step[F_JSON] ~= '' and not there[step[F_START]] and position > step[F_POSITION] then
      step[F_POSITION], step[F_GENERATION], step[F_JSON] = position, generation, ''
      dropped = true
    end
  end
  if dropped then
    write_fees(series, steps)
    changed = changed + 1
  end
end
