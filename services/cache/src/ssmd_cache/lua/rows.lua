-- What a batch of the stream writes: one packed list of commands (projection/commands.py), each
-- {kind, ticker, record, value, known_only}. Their records are fetched together first.

local function rows(packed)
  local list = cmsgpack.unpack(packed)
  local tickers = {m = {}, e = {}, s = {}, f = {}}
  for _, row in ipairs(list) do
    local of = tickers[row[1]] or tickers.f
    of[#of + 1] = row[2]
    if row[1] == 'm' and row[3][M_LISTED] == '1' then
      tickers.e[#tickers.e + 1] = row[3][M_EVENT]
    end
  end
  for kind, wanted in pairs(tickers) do fetch(kind, wanted) end
  local new = {}
  for _, row in ipairs(list) do
    local known = PLACING[row[1]] and records[row[1]][row[2]]
    local key = known ~= nil and row[3][R_KEY] or ''
    if key ~= '' and not (known and known[R_KEY] == key) then new[#new + 1] = key end
  end
  -- Mostly none of the new keys is there, and need not be looked at one by one.
  none_exist = true
  for first = 1, #new, LIMIT do
    local last = math.min(first + LIMIT - 1, #new)
    if redis.call('EXISTS', unpack(new, first, last)) > 0 then none_exist = false end
  end
  for _, row in ipairs(list) do
    local kind, ticker, record, value, known_only = unpack(row)
    if kind == 'f' then
      put_fee(ticker, record, value)
    elseif kind == 'd' then
      only_steps(ticker, record)
    else
      put(kind, ticker, record, value, known_only)
    end
  end
  flush()
end
