-- Move a container from one state to another, if it is still in the state and revision that the caller read.
-- Leaving `allocated` this way revokes the lease and tells its holder. Becoming available serves the queue.
-- `stored` says how many of the values behind it are fields to keep in the container's hash; all go into the event.
-- KEYS: meta
-- ARGV: clock, id, from, revision, to, stored, values...
-- Returns: {moved 0|1, state, revision}
local clock, id, from, revision, to, stored = unpack(ARGV)
local FIRST = 7

local key = P .. 'c:' .. id
local v = call('HMGET', key, 'state', 'revision', 'process', 'request', 'freed_at')
if not v[1] then return {0, '', ''} end
if v[1] ~= from or v[2] ~= revision then return {0, v[1], v[2]} end
local now = tick()
local last = FIRST + tonumber(stored) - 1
if to == 'available' and v[5] then
  emit(now, 'container.moved', 'container', id, 'from', from, 'to', to, 'freed_us', int(now - tonumber(v[5])), unpack(ARGV, FIRST))
else
  emit(now, 'container.moved', 'container', id, 'from', from, 'to', to, unpack(ARGV, FIRST))
end
if from == 'allocated' then
  finish(id, to, 'lost', now, unpack(ARGV, FIRST, last))
  hint(v[3], v[4])
else
  if last >= FIRST then call('HSET', key, unpack(ARGV, FIRST, last)) end
  if from == 'quarantined' or from == 'stopped' then call('HDEL', key, 'freed_at') end -- it was kept out, not cleaned
  if to == 'available' then settle(id, now) else enter(id, to, now) end
end
v = call('HMGET', key, 'state', 'revision')
return {1, v[1], v[2]}
