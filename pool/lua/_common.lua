-- Put before every command by pool.scripts.
--
-- KEYS[1] is always the pool's meta key, `cp:{pool}:meta`. Every other key is derived from it; the braces keep all
-- of a pool in one Cluster slot. ARGV[1] is always a clock in microseconds for tests; empty: the server's own.
--
--   meta      hash   incarnation, settings, and the clock (tick, offset). Missing: the pool was never opened
--   ids       set    the containers
--   c:<id>    hash   a container, and its lease: one set of lease fields, so a second lease cannot be written
--   ready     zset   available container, unless it is draining -> since
--   exp       zset   allocated container -> when its lease expires
--   work      zset   container that waits for a manager -> since
--   spares    zset   container that stands by outside the rotation, unless it is draining -> since
--   rotation  set    the containers in rotation, which are lent or to be lent soon: available, allocated, paused, cleaning
--   frozen    zset   paused container -> since, or when a waiting request last asked for it to be thawed
--   q         zset   waiting request -> arrival + priority x weight
--   wdl       zset   waiting request -> when its wait ends
--   r:<req>   hash   a request, for its waiter and so that a command may be sent twice; has a TTL
--   own       zset   client process -> until when it counts as alive
--   in:<proc> list   wake-up hints for a process (`manager`: for the manager); has a TTL
--   t:<label> hash   how long past leases of a label took, and what timeout that recommends; has a TTL
--   held      hash   owner -> leases it holds
--   queued    hash   owner -> requests it has in the queue
--   mgr       hash   the active manager
--   baselines hash   container -> what it looked like when it was new
--   events    stream what happened, trimmed
--   audit     stream who did what, each entry with the hash of the one before; has a TTL
--   metrics   hash   what was counted in the events, and up to which; has a TTL
--   hour:<n>  hash   what was counted of an hour, its number since the epoch, until it is over; has a TTL
--   live      set    the hours that are counted like this; has a TTL
--   hours     hash   hour -> all that is kept of it, packed; has a TTL
local META = KEYS[1]
local P = string.sub(META, 1, -5)
local call = redis.call

local HINT_TTL_MS = 60000
local HINTS_KEPT = 1000
local ENDED_TTL_MS = 3600000
local EVENTS_KEPT = '20000'
local INDEXES = {'ready', 'exp', 'work', 'frozen', 'spares'}
local INDEX = {
  available = 'ready', allocated = 'exp', paused = 'frozen', spare = 'spares',
  starting = 'work', cleaning = 'work', resetting = 'work', unhealthy = 'work',
}
local ROTATES = {available = true, allocated = true, paused = true, cleaning = true}
local LEASE_FIELDS = {
  'request', 'token', 'owner', 'process', 'priority', 'ttl', 'confirmed',
  'enqueued_at', 'granted_at', 'expires_at', 'deadline_at', 'extensions', 'warned', 'metadata',
}
-- What stands before everything that waits by arrival: scores are now + priority x weight, and now is above this.
local FRONT = 1000000000000000

local fill -- defined below: it settles containers, and settling one may free a place

local function int(n) return string.format('%.0f', n) end

-- The pool's clock: strictly rising, in microseconds. It follows the server's; when that steps back by more than a
-- second (failover, NTP), the pool's goes on from where it was at the same pace, until the server's has caught up.
local function tick()
  local raw
  if ARGV[1] ~= '' then
    raw = tonumber(ARGV[1])
  else
    local t = call('TIME')
    raw = tonumber(t[1]) * 1000000 + tonumber(t[2])
  end
  local clock = call('HMGET', META, 'tick', 'offset')
  local last, offset = tonumber(clock[1] or '0'), tonumber(clock[2] or '0')
  local now, moved = raw + offset, offset
  if raw > last then
    now, moved = raw, 0
  elseif now <= last then
    if last - now > 1000000 then moved = last + 1 - raw end
    now = last + 1
  end
  call('HSET', META, 'tick', int(now))
  if moved ~= offset then call('HSET', META, 'offset', int(moved)) end
  return now
end

local function emit(now, type, ...)
  call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'type', type, 'at', int(now), ...)
end

-- Tell a process that something happened to a request. State is the truth, so losing a hint loses only time.
local function hint(process, text)
  local key = P .. 'in:' .. process
  if call('RPUSH', key, text) > HINTS_KEPT then call('LTRIM', key, -HINTS_KEPT, -1) end
  call('PEXPIRE', key, HINT_TTL_MS)
end

-- The index that a container belongs into. A draining one that is free is in none: nobody gets it, nobody has it
-- thawed, and it takes nobody's place.
local function index_of(id, state)
  local index = INDEX[state]
  local free = index == 'ready' or index == 'frozen' or index == 'spares'
  return not (free and call('HEXISTS', P .. 'c:' .. id, 'draining') == 1) and index or nil
end

-- Put a container into its index, and out of the others, whatever state it was in.
local function place(id, state, score)
  local index = index_of(id, state)
  for _, name in ipairs(INDEXES) do
    if name == index then
      call('ZADD', P .. name, int(score), id)
    else
      call('ZREM', P .. name, id)
    end
  end
  return index
end

-- The one writer of a container's state: hash, index and rotation change together. Further fields go into the same write.
-- Where one leaves the rotation, a spare takes its place in this very step.
local function enter(id, state, now, score, ...)
  local key = P .. 'c:' .. id
  local was = call('HGET', key, 'state')
  local index, old = index_of(id, state), INDEX[was]
  if old and old ~= index then call('ZREM', P .. old, id) end
  if index then call('ZADD', P .. index, int(score or now), id) end
  call('HSET', key, 'state', state, 'revision', int(now), 'since', int(now), ...)
  if ROTATES[state] ~= ROTATES[was] then call(ROTATES[state] and 'SADD' or 'SREM', P .. 'rotation', id) end
  if index == 'work' then hint('manager', id) end
  if ROTATES[was] and not ROTATES[state] then fill(id) end
end

-- Count what an owner has; an owner with nothing is forgotten.
local function count(what, owner, by)
  if call('HINCRBY', P .. what, owner, by) <= 0 then call('HDEL', P .. what, owner) end
end

-- Whether so many more would go beyond a configured limit of what a command counts; a limit that is not set is empty.
local function over_limit(limit, more, ...)
  return limit and limit ~= '' and tonumber(call(...) or '0') + more > tonumber(limit)
end

-- The one writer of a lease's expiry: the hash and where the reaper looks change together.
local function keep(id, expires)
  call('HSET', P .. 'c:' .. id, 'expires_at', int(expires))
  call('ZADD', P .. 'exp', int(expires), id)
end

-- Bind a container to a request. `r` has owner, process, priority, token, ttl, timeout, enqueued_at, metadata; a request
-- that has just come is `new`: an event says so of it once, whether it is granted at once or queued.
-- An unconfirmed grant lapses after the claim ttl; a confirmed one lives by heartbeats until its deadline.
-- One of a bundle also has `ends`, when the wait for the rest of it ends: it is used only after that, see begin.lua.
local function grant(id, request, r, now, confirmed, claim_ttl)
  local deadline = (r.ends or now) + r.timeout
  local expires = math.min(now + (confirmed and r.ttl or claim_ttl), deadline)
  local fence = int(now)
  enter(id, 'allocated', now, expires,
    'fence', fence, 'request', request, 'token', r.token, 'owner', r.owner, 'process', r.process,
    'priority', r.priority, 'ttl', int(r.ttl), 'confirmed', confirmed and '1' or '0',
    'enqueued_at', int(r.enqueued_at), 'granted_at', fence, 'expires_at', int(expires), 'deadline_at', int(deadline),
    'extensions', '0')
  if r.metadata then call('HSET', P .. 'c:' .. id, 'metadata', r.metadata) end
  count('held', r.owner, 1)
  local key = P .. 'r:' .. request
  call('HSET', key, 'state', confirmed and 'leased' or 'granted', 'container', id, 'fence', fence)
  call('PEXPIRE', key, int((deadline - now) / 1000 + ENDED_TTL_MS))
  emit(now, 'lease.granted', 'container', id, 'request', request, 'owner', r.owner, 'priority', r.priority,
    'fence', fence, 'waited_us', int(now - r.enqueued_at), 'new', r.new and '1' or '0')
end

-- Write how a request ended, for whoever asks again.
local function conclude(request, state)
  local key = P .. 'r:' .. request
  call('HSET', key, 'state', state)
  call('PEXPIRE', key, ENDED_TTL_MS)
end

-- Put a request into the queue, where its score says. If a container is frozen, the manager is asked to thaw it: each
-- waiting request asks for another one.
local function enqueue(request, r, score, now)
  local key = P .. 'r:' .. request
  call('HSET', key, 'state', 'waiting')
  call('PEXPIRE', key, int((r.wait_until - now + r.timeout) / 1000 + ENDED_TTL_MS))
  call('ZADD', P .. 'wdl', int(r.wait_until), request)
  call('ZADD', P .. 'q', int(score), request)
  count('queued', r.owner, 1)
  emit(now, 'request.queued', 'request', request, 'owner', r.owner, 'priority', r.priority, 'new', r.new and '1' or '0')
  local frozen = call('ZRANGE', P .. 'frozen', 0, 0)[1]
  if frozen then
    call('ZADD', P .. 'frozen', int(now), frozen)
    hint('manager', frozen)
  end
end

-- One of a bundle is granted: the rest of it stands before everybody else from now on, and before the rest of any
-- bundle that comes later. So a bundle that was begun is completed before another one is begun, and no two of them
-- ever wait for each other's containers.
local function promote(bundle, size, now)
  for i = 1, size do
    local request = bundle .. '.' .. i
    if call('EXISTS', P .. 'r:' .. request) == 1 then
      call('HSET', P .. 'r:' .. request, 'front', int(now - FRONT))
      call('ZADD', P .. 'q', 'XX', int(now - FRONT), request)
    end
  end
end

-- Take a waiting request out of the queue and tell its client how it ended.
local function dequeue(request, state, now)
  call('ZREM', P .. 'q', request)
  call('ZREM', P .. 'wdl', request)
  local r = call('HMGET', P .. 'r:' .. request, 'state', 'owner', 'process')
  if r[1] ~= 'waiting' then return end
  conclude(request, state)
  count('queued', r[2], -1)
  emit(now, 'request.' .. state, 'request', request, 'owner', r[2])
  hint(r[3], request)
end

-- Keep a moving average in the pool's hash: an eighth of it is the newest value.
local function average(name, value)
  local mean = tonumber(call('HGET', META, name) or value)
  call('HSET', META, name, int(mean + (value - mean) / 8))
end

-- The longest life of a lease whose request names none: what the history of its label recommends, kept within the
-- longest lease, and not below the ttl, by when a dead holder is found anyway. Nil where there is too little history.
local function adaptive_timeout(label, ttl, shortest, longest)
  local timeout = call('HGET', P .. 't:' .. label, 'timeout')
  return timeout and math.min(math.max(tonumber(timeout), ttl, tonumber(shortest or 0)), longest)
end

-- What the record of a request says of it, as `grant` and `enqueue` take it; nil where it is not known.
local function read_request(request)
  local v = call('HMGET', P .. 'r:' .. request, 'owner', 'process', 'priority', 'token', 'ttl', 'timeout',
    'enqueued_at', 'wait_until', 'metadata', 'bundle', 'size', 'front', 'state')
  if not v[1] then return nil end
  return {owner = v[1], process = v[2], priority = v[3], token = v[4], ttl = tonumber(v[5]), timeout = tonumber(v[6]),
    enqueued_at = tonumber(v[7]), wait_until = tonumber(v[8]), metadata = v[9], bundle = v[10], size = tonumber(v[11]),
    front = tonumber(v[12]), state = v[13], ends = v[10] and tonumber(v[8])}
end

local function alive(process, now)
  local until_ = call('ZSCORE', P .. 'own', process)
  return until_ and tonumber(until_) > now
end

-- How many places the rotation has; nil where it has no limit, since there are no spares.
local function places() return tonumber(call('HGET', META, 'rotation') or '') end

-- Give a clean container to the best live waiter, in this very step; if there is none, or it is draining, it is available.
-- In a pool with spares it stands by if there is no place for it in the rotation, or while it is draining.
local function settle(id, now)
  local key = P .. 'c:' .. id
  local v = call('HMGET', key, 'state', 'draining', 'freed_at')
  call('HDEL', key, 'reason', 'level', 'outcome', 'note', 'freed_at')
  if v[3] then
    average('mean_reset', now - tonumber(v[3]))
  end
  local limits = call('HMGET', META, 'claim_ttl', 'max_leases_per_owner', 'max_leases', 'rotation')
  local draining, most = v[2], tonumber(limits[4] or '')
  if most and (draining or call('SCARD', P .. 'rotation') - (ROTATES[v[1]] and 1 or 0) >= most) then
    emit(now, 'container.spare', 'container', id)
    enter(id, 'spare', now)
    return false
  end
  while not draining do
    local request = call('ZRANGE', P .. 'q', 0, 0)[1]
    if not request then break end
    local r = read_request(request)
    if not r or r.state ~= 'waiting' or r.wait_until <= now then
      dequeue(request, 'timed_out', now)
    elseif not alive(r.process, now) then
      dequeue(request, 'lost', now)
    elseif over_limit(limits[2], 1, 'HGET', P .. 'held', r.owner) or over_limit(limits[3], 1, 'ZCARD', P .. 'exp') then
      dequeue(request, 'over_limit', now)
    else
      call('ZREM', P .. 'q', request)
      call('ZREM', P .. 'wdl', request)
      count('queued', r.owner, -1)
      grant(id, request, r, now, false, tonumber(limits[1]))
      hint(r.process, request)
      if r.bundle and not r.front then promote(r.bundle, r.size, now) end
      return request
    end
  end
  enter(id, 'available', now)
  emit(now, 'container.available', 'container', id)
  return false
end

-- Let spares take the places that are free, first the one that has stood by for the longest; `out` has just left its own.
fill = function(out)
  for _, id in ipairs(call('ZRANGE', P .. 'spares', 0, -1)) do
    local most = places()
    if most and call('SCARD', P .. 'rotation') >= most then return end
    local now = tick() -- a fence of its own
    if out then emit(now, 'container.swapped', 'container', id, 'in', id, 'out', out) end
    settle(id, now)
  end
end

-- End the lease of a container: the request's record says how, the container goes to `state` with the facts given;
-- without a state the caller settles it, in this very step.
local function finish(id, state, request_state, now, ...)
  local key = P .. 'c:' .. id
  local v = call('HMGET', key, 'request', 'owner', 'fence', 'granted_at')
  call('HDEL', key, unpack(LEASE_FIELDS))
  call('HINCRBY', key, 'uses', 1)
  call('HSET', key, 'level', '0', 'freed_at', int(now), 'last_request', v[1], 'last_owner', v[2], ...)
  count('held', v[2], -1)
  if request_state ~= 'cancelled' and request_state ~= 'unfit' then average('mean_held', now - tonumber(v[4])) end
  conclude(v[1], request_state)
  emit(now, 'lease.' .. request_state, 'container', id, 'request', v[1], 'owner', v[2], 'fence', v[3],
    'held_us', int(now - tonumber(v[4])), ...)
  if state then enter(id, state, now) else call('ZREM', P .. 'exp', id) end -- settle counts what is lent
end

-- Remove a pool. What still tells its story expires by itself.
local function forget_pool()
  for _, id in ipairs(call('SMEMBERS', P .. 'ids')) do call('DEL', P .. 'c:' .. id) end
  for _, name in ipairs(INDEXES) do call('DEL', P .. name) end
  for _, name in ipairs({'meta', 'ids', 'rotation', 'q', 'wdl', 'own', 'held', 'queued', 'mgr', 'baselines'}) do call('DEL', P .. name) end
  call('PEXPIRE', P .. 'events', 24 * ENDED_TTL_MS)
end

-- Find the container that a lease still holds, or why it holds none: released, lost, … or gone.
-- A lease whose time is over holds nothing, whether or not the reaper has come by.
local function held_by(request, fence, token, now)
  local r = call('HMGET', P .. 'r:' .. request, 'state', 'container', 'fence', 'token')
  if not r[1] then return nil, 'gone' end
  if r[3] ~= fence or r[4] ~= token then return nil, 'stale' end
  if r[1] ~= 'leased' and r[1] ~= 'granted' then return nil, r[1] end
  local c = call('HMGET', P .. 'c:' .. r[2], 'state', 'fence', 'token', 'expires_at')
  if c[1] ~= 'allocated' or c[2] ~= fence or c[3] ~= token or tonumber(c[4]) <= now then return nil, 'lost' end
  return r[2]
end

-- The reply that a lease is held, as the container's hash has it.
local function leased(id, now) return {'leased', int(now), call('HGETALL', P .. 'c:' .. id)} end

-- Confirm a grant if that is still due, and reply with the lease.
local function lease_reply(id, now)
  local key = P .. 'c:' .. id
  local v = call('HMGET', key, 'confirmed', 'ttl', 'deadline_at', 'request')
  if v[1] == '0' then
    local expires = math.min(now + tonumber(v[2]), tonumber(v[3]))
    call('HSET', key, 'confirmed', '1')
    keep(id, expires)
    call('HSET', P .. 'r:' .. v[4], 'state', 'leased')
    emit(now, 'lease.confirmed', 'container', id, 'request', v[4])
  end
  return leased(id, now)
end

-- The answer to a request that was made before.
local function answer_again(request, now)
  local v = call('HMGET', P .. 'r:' .. request, 'state', 'fence', 'token', 'wait_until')
  if v[1] == 'waiting' then
    return {'waiting', call('ZRANK', P .. 'q', request) + 1, int(math.max(tonumber(v[4]) - now, 0))}
  end
  local id, ended = held_by(request, v[2], v[3], now)
  if not id then return {'ended', ended} end
  return lease_reply(id, now)
end
