-- Grant a container at once, or put the request into the queue: one round trip either way.
-- Sent twice it gives the same answer: the record r:<request> remembers it.
-- A ready container means an empty queue, since whatever makes a container available serves the queue first;
-- so taking a ready one never overtakes a waiter.
-- KEYS: meta
-- ARGV: clock, request, token, owner, process, liveness, priority, wait, ttl, timeout, label
-- Returns: {'leased', now, container hash} | {'waiting', position, how long at most} | {'busy'} | {'unknown_pool'}
--          | {'draining'} | {'degraded', why, hold}
--          | {'conflict'} | {'ended', state} | {'over_limit', which, limit} | {'limit', field, limit}
local clock, request, token, owner, process, liveness, priority, wait, ttl, timeout, label = unpack(ARGV)
local LOW = 3

local m = call('HMGET', META, 'incarnation', 'weight', 'ttl', 'timeout', 'max_timeout', 'max_wait', 'max_queued', 'draining',
  'max_leases', 'max_leases_per_owner', 'max_queued_per_owner', 'adaptive', 'degraded', 'hold')
if not m[1] then return {'unknown_pool'} end
wait, ttl, timeout = tonumber(wait), tonumber(ttl), tonumber(timeout)

local key = P .. 'r:' .. request
local prior = call('HMGET', key, 'state', 'owner', 'fence', 'token', 'wait_until')
if prior[1] then
  if prior[1] == 'cancelled' then return {'ended', 'cancelled'} end
  if prior[2] ~= owner then return {'conflict'} end
  local now = tick()
  if prior[1] == 'waiting' then
    call('HSET', key, 'process', process)
    call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
    return {'waiting', call('ZRANK', P .. 'q', request) + 1, int(math.max(tonumber(prior[5]) - now, 0))}
  end
  local id, ended = held_by(request, prior[3], prior[4], now)
  if not id then return {'ended', ended} end
  return lease_reply(id, now)
end

if m[8] then return {'draining'} end
if wait > tonumber(m[6]) then return {'limit', 'wait_s', m[6]} end
if m[13] then -- pool/degradation.py tells users of these two
  if tonumber(priority) == LOW then return {'degraded', m[13], m[14]} end
  wait = math.min(wait, tonumber(m[6]) / 2)
end
if timeout > tonumber(m[5]) then return {'limit', 'timeout_s', m[5]} end
if at_limit(m[9], 'ZCARD', P .. 'exp') then return {'over_limit', 'max_leases', m[9]} end
if at_limit(m[10], 'HGET', P .. 'held', owner) then return {'over_limit', 'max_leases_per_owner', m[10]} end
if ttl == 0 then ttl = tonumber(m[3]) end
if timeout == 0 then timeout = m[12] == '1' and adaptive_timeout(label, ttl, tonumber(m[5])) or tonumber(m[4]) end

local now = tick()
local id = call('ZRANGE', P .. 'ready', 0, 0)[1]
if not id then
  if wait <= 0 then return {'busy'} end
  if at_limit(m[7], 'ZCARD', P .. 'q') then return {'over_limit', 'max_queued', m[7]} end
  if at_limit(m[11], 'HGET', P .. 'queued', owner) then return {'over_limit', 'max_queued_per_owner', m[11]} end
end

call('HSET', key, 'state', 'waiting', 'owner', owner, 'process', process, 'priority', priority, 'token', token,
  'label', label, 'ttl', int(ttl), 'timeout', int(timeout), 'enqueued_at', int(now), 'wait_until', int(now + wait))
if id then
  grant(id, request, {owner = owner, process = process, priority = priority, token = token,
    ttl = ttl, timeout = timeout, enqueued_at = now}, now, true)
  return lease_reply(id, now)
end
call('PEXPIRE', key, int((wait + timeout) / 1000 + ENDED_TTL_MS))
call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
call('ZADD', P .. 'wdl', int(now + wait), request)
call('ZADD', P .. 'q', int(now + tonumber(priority) * tonumber(m[2])), request)
count('queued', owner, 1)
emit(now, 'request.queued', 'request', request, 'owner', owner, 'priority', priority)
return {'waiting', call('ZRANK', P .. 'q', request) + 1, int(wait)}
