-- What the leader asks for.

if action == 'claim' then
  if not state or state.v ~= VERSION then
    redis.call('SET', POSITION, cjson.encode({v = VERSION, token = token, warm = false}))
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

if action == 'warm' then  -- the position, and how many rows of each kind were written
  for i, kind in ipairs({'m', 'e', 's', 'f'}) do
    -- Redis came back as it was saved half-way: what it forgot nobody would write again.
    if redis.call('HLEN', OWN[kind]) < tonumber(ARGV[4 + i]) then return {'LOST'} end
  end
  redis.call('SET', POSITION, ARGV[4])
  return {'OK'}
end

if action == 'apply' then  -- first and last stream sequence, generation, new position, rows, 'again'
  local first, last, at = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(state.sequence or -1)
  if not state.warm then return {'LOST'} end
  if last > 0 and last <= at then return {'OK', 0, missing, blocked} end
  if last > 0 and first > at + 1 then return {'GAP', tostring(at)} end
  generation, again = ARGV[6], ARGV[9] == 'again'
  rows(ARGV[8])
  if ARGV[7] ~= '' then redis.call('SET', POSITION, ARGV[7]) end
  return {'OK', changed, missing, blocked}
end

if action == 'sweep' then  -- how many at most; how many were looked at, and swept
  local due = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', now, 'LIMIT', 0, ARGV[4])
  local swept = 0
  for _, member in ipairs(due) do
    local kind, ticker = string.sub(member, 1, 1), string.sub(member, 3)
    local record = load(kind, ticker)
    if not record then
      redis.call('ZREM', EXPIRIES, member)
    elseif record[R_KEY] ~= '' and has_ended(kind, record) then
      swept = swept + 1
      bury(kind, ticker, record)
    elseif record[R_KEY] ~= '' or kind == 'e' and redis.call('EXISTS', members_key(ticker)) == 1 then
      schedule(kind, ticker, look_at(kind, record))
    else
      take_out(kind, ticker, record)
      forget(kind, ticker)
    end
  end
  flush()
  return {'OK', #due, swept}
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
    local ticker, record = page[2][i], unpacked(page[2][i + 1])
    if not record then
      forget(kind, ticker)
    elseif kind == 'f' then
      local kept = {}
      for _, step in ipairs(record) do
        if belongs(step[F_POSITION], step[F_GENERATION]) then kept[#kept + 1] = step end
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
    elseif not belongs(record[R_POSITION], record[R_GENERATION]) then
      take_out(kind, ticker, record)
      forget(kind, ticker)
      dropped = dropped + 1
    elseif record[R_KEY] ~= '' then
      live = live + 1
      if kind == 'm' and record[M_LISTED] == '1' then
        if record[M_CATEGORY] ~= '' then categorised = categorised + 1 end
        if record[M_CLOSES] ~= '' then scored = scored + 1 end
      end
    end
  end
  flush()
  return {'OK', page[1], dropped, live, categorised, scored}
end
