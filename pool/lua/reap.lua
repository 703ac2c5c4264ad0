-- End what has outlived its time: waits past their limit, waiters whose process died, grants nobody confirmed
-- (unused: the next waiter gets the container), and leases past their expiry (used: hard reset).
-- KEYS: meta
-- ARGV: clock, limit
-- Returns: {how many waits, grants and leases were ended}
local clock, limit = ARGV[1], tonumber(ARGV[2])

-- A history that recommended less than the default, and by that has cut off a lease, does not hold any more. Forgotten,
-- it leaves the default; kept, it would cut off the next lease too, and never learn that they take longer now.
local function doubt_history(request, life)
  local key = P .. 't:' .. (call('HGET', P .. 'r:' .. request, 'label') or '')
  local timeout = tonumber(call('HGET', key, 'timeout') or life + 1)
  if timeout <= life and timeout < tonumber(call('HGET', META, 'timeout')) then call('DEL', key) end
end

if call('EXISTS', META) == 0 then return {0, 0, 0} end
local now = tick()
local waits, grants, leases = 0, 0, 0
for _, request in ipairs(call('ZRANGEBYSCORE', P .. 'wdl', '-inf', int(now), 'LIMIT', 0, limit)) do
  dequeue(request, 'timed_out', now)
  waits = waits + 1
end
for _, request in ipairs(call('ZRANGE', P .. 'q', 0, limit - 1)) do
  local process = call('HGET', P .. 'r:' .. request, 'process')
  if not process or not alive(process, now) then
    dequeue(request, 'lost', now)
    waits = waits + 1
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'exp', '-inf', int(now), 'LIMIT', 0, limit)) do
  local v = call('HMGET', P .. 'c:' .. id, 'confirmed', 'process', 'request', 'deadline_at', 'granted_at')
  if v[1] == '0' then
    finish(id, nil, 'lost', now, 'note', 'the grant was not confirmed within the claim ttl')
    settle(id, tick())
    grants = grants + 1
  else
    local overdue = tonumber(v[4]) <= now
    if overdue then doubt_history(v[3], tonumber(v[4]) - tonumber(v[5])) end
    local why = overdue and 'deadline reached' or 'no heartbeat within the ttl'
    finish(id, 'resetting', 'lost', now, 'reason', 'on_expiry', 'note', why)
    leases = leases + 1
  end
  hint(v[2], v[3])
end
call('ZREMRANGEBYSCORE', P .. 'own', '-inf', int(now - 60000000))
return {waits, grants, leases}
