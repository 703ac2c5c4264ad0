-- Keep a process and its leases alive: each lease for its ttl from now, never beyond its deadline.
-- A lease is named by three arguments: request, fence, token.
-- KEYS: meta
-- ARGV: clock, process, liveness, leases...
-- Returns: {for each lease: its new expiry, or 0 if it is lost}
local clock, process, liveness = ARGV[1], ARGV[2], ARGV[3]

local expiries = {}
if call('EXISTS', META) == 0 then
  for i = 4, #ARGV, 3 do expiries[#expiries + 1] = '0' end
  return expiries
end
local now = tick()
call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
for i = 4, #ARGV, 3 do
  local expiry = '0'
  local id = held_by(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if id then
    local key = P .. 'c:' .. id
    local v = call('HMGET', key, 'ttl', 'deadline_at', 'expires_at')
    if tonumber(v[3]) > now then
      expiry = int(math.min(now + tonumber(v[1]), tonumber(v[2])))
      call('HSET', key, 'expires_at', expiry)
      call('ZADD', P .. 'exp', expiry, id)
    end
  end
  expiries[#expiries + 1] = expiry
end
return expiries
