-- Begin the life of leases that waited for the rest of their bundle: the time that they were granted for runs from now
-- on. Once for each lease, so that asking again moves nothing. A lease is named by three arguments: request, fence, token.
-- KEYS: meta
-- ARGV: clock, leases...
-- Returns: {for each lease: {'leased', now, container hash} | {how it ended}}
local clock = ARGV[1]

local replies = {}
if call('EXISTS', META) == 0 then
  for i = 2, #ARGV, 3 do replies[#replies + 1] = {'gone'} end
  return replies
end
local now = tick()
for i = 2, #ARGV, 3 do
  local id, ended = held_by(ARGV[i], ARGV[i + 1], ARGV[i + 2], now)
  if id and call('HSETNX', P .. 'r:' .. ARGV[i], 'begun', '1') == 1 then
    local key = P .. 'c:' .. id
    local deadline = now + tonumber(call('HGET', P .. 'r:' .. ARGV[i], 'timeout'))
    call('HSET', key, 'granted_at', int(now), 'deadline_at', int(deadline))
    keep(id, math.min(now + tonumber(call('HGET', key, 'ttl')), deadline))
    emit(now, 'lease.begun', 'container', id, 'request', ARGV[i])
  end
  replies[#replies + 1] = id and lease_reply(id, now) or {ended}
end
return replies
