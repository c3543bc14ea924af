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
