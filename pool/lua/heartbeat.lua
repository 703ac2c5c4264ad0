-- Keep a process and its leases alive: each lease for its ttl from now, never beyond its deadline.
-- The first one near the deadline is an event: in the last fifth of the lease's life, or its last ten seconds if fewer.
-- A lease is named by three arguments: request, fence, token.
-- KEYS: meta
-- ARGV: clock, process, liveness, leases...
-- Returns: {for each lease: its new expiry, or 0 if it is lost}
local clock, process, liveness = ARGV[1], ARGV[2], ARGV[3]

local WARNING = 10000000

-- Once for each deadline, so that an extension arms it again.
local function warn_if_near(id, request, v, now)
  local deadline = tonumber(v[2])
  if v[4] == v[2] or deadline - now > math.min((deadline - tonumber(v[3])) / 5, WARNING) then return end
  call('HSET', P .. 'c:' .. id, 'warned', v[2])
  emit(now, 'lease.deadline_near', 'container', id, 'request', request, 'owner', v[5], 'left_us', int(deadline - now))
end

local expiries = {}
if call('EXISTS', META) == 0 then
  for i = 4, #ARGV, 3 do expiries[#expiries + 1] = '0' end
  return expiries
end
local now = tick()
call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
for i = 4, #ARGV, 3 do
  local expiry = '0'
  local id = held_by(ARGV[i], ARGV[i + 1], ARGV[i + 2], now)
  if id then
    local key = P .. 'c:' .. id
    local v = call('HMGET', key, 'ttl', 'deadline_at', 'granted_at', 'warned', 'owner')
    expiry = math.min(now + tonumber(v[1]), tonumber(v[2]))
    keep(id, expiry)
    warn_if_near(id, ARGV[i], v, now)
    expiry = int(expiry)
  end
  expiries[#expiries + 1] = expiry
end
return expiries
