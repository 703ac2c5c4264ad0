-- Grant a container at once, or put the request into the queue: one round trip either way.
-- A bundle of `size` is as many requests, <request>.1, <request>.2, ...: all of them are taken on, or none.
-- Sent twice it gives the same answer: the record r:<request> remembers it.
-- A ready container means an empty queue, since whatever makes a container available serves the queue first;
-- so taking a ready one never overtakes a waiter.
-- KEYS: meta
-- ARGV: clock, request, token, owner, process, liveness, priority, wait, ttl, timeout, label, metadata, size
-- Returns: {for each: {'leased', now, container hash} | {'waiting', position, how long at most} | {'ended', state}}
--          | {'busy'} | {'unknown_pool'} | {'draining'} | {'degraded', why, hold} | {'conflict'}
--          | {'over_limit', which, limit} | {'limit', field, limit} | {'too_many', containers}
local clock, request, token, owner, process, liveness, priority, wait, ttl, timeout, label, metadata, size = unpack(ARGV)
local LOW = 3

local m = call('HMGET', META, 'incarnation', 'weight', 'ttl', 'timeout', 'max_timeout', 'max_wait', 'max_queued', 'draining',
  'max_leases', 'max_leases_per_owner', 'max_queued_per_owner', 'adaptive', 'degraded', 'hold', 'claim_ttl', 'rotation', 'size',
  'min_timeout')
if not m[1] then return {'unknown_pool'} end
wait, ttl, timeout = tonumber(wait), tonumber(ttl), tonumber(timeout)

local wanted, names, replies = tonumber(size), {request}, {}
for i = 1, wanted or 0 do names[i] = request .. '.' .. i end
local many = #names

if call('EXISTS', P .. 'r:' .. names[1]) == 1 then
  for i, name in ipairs(names) do
    local prior = call('HMGET', P .. 'r:' .. name, 'state', 'owner')
    if prior[2] and prior[2] ~= owner then return {'conflict'} end
    local now = prior[1] ~= 'cancelled' and tick()
    if prior[1] == 'waiting' then
      call('HSET', P .. 'r:' .. name, 'process', process)
      call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
    end
    replies[i] = now and answer_again(name, now) or {'ended', 'cancelled'}
  end
  return replies
end

if m[8] then return {'draining'} end
if wait > tonumber(m[6]) then return {'limit', 'wait_s', m[6]} end
if m[13] then -- pool/degradation.py tells users of these two
  if tonumber(priority) == LOW then return {'degraded', m[13], m[14]} end
  wait = math.min(wait, tonumber(m[6]) / 2)
end
if timeout > tonumber(m[5]) then return {'limit', 'timeout_s', m[5]} end
if wanted then
  local there = math.max(call('SCARD', P .. 'ids'), tonumber(m[17] or 0)) -- a manager that just opened it registers them
  local most = math.min(there, tonumber(m[16] or '') or math.huge)
  if many > most then return {'too_many', most} end
end
if over_limit(m[9], many, 'ZCARD', P .. 'exp') then return {'over_limit', 'max_leases', m[9]} end
if over_limit(m[10], many, 'HGET', P .. 'held', owner) then return {'over_limit', 'max_leases_per_owner', m[10]} end
if ttl == 0 then ttl = tonumber(m[3]) end
if timeout == 0 then timeout = m[12] == '1' and adaptive_timeout(label, ttl, m[18], tonumber(m[5])) or tonumber(m[4]) end

local arrived = tick()
local ready = call('ZRANGE', P .. 'ready', 0, many - 1)
local left = many - #ready
if left > 0 then
  if wait <= 0 then
    if left + call('ZCARD', P .. 'q') > call('ZCARD', P .. 'frozen') then return {'busy'} end
    wait = tonumber(m[15]) -- thawing takes a moment
  end
  if over_limit(m[7], left, 'ZCARD', P .. 'q') then return {'over_limit', 'max_queued', m[7]} end
  if over_limit(m[11], left, 'HGET', P .. 'queued', owner) then
    return {'over_limit', 'max_queued_per_owner', m[11]}
  end
  call('ZADD', P .. 'own', 'GT', int(arrived + tonumber(liveness)), process)
end

local r = {owner = owner, process = process, priority = priority, token = token, ttl = ttl, timeout = timeout,
  enqueued_at = arrived, wait_until = arrived + wait, metadata = metadata ~= '' and metadata, ends = wanted and arrived + wait, new = true}
for i, name in ipairs(names) do
  local key, id = P .. 'r:' .. name, ready[i]
  call('HSET', key, 'state', 'waiting', 'owner', owner, 'process', process, 'priority', priority, 'token', token,
    'label', label, 'ttl', int(ttl), 'timeout', int(timeout), 'enqueued_at', int(arrived), 'wait_until', int(arrived + wait))
  if r.metadata then call('HSET', key, 'metadata', metadata) end
  if wanted then call('HSET', key, 'bundle', request, 'size', size) end
  if id then
    local now = i == 1 and arrived or tick() -- a fence for each
    grant(id, name, r, now, true)
    replies[i] = leased(id, now)
  else
    enqueue(name, r, arrived + tonumber(priority) * tonumber(m[2]), arrived)
  end
end
if left > 0 and left < many then promote(request, many, arrived) end
for i = #ready + 1, many do replies[i] = {'waiting', call('ZRANK', P .. 'q', names[i]) + 1, int(wait)} end
return replies
