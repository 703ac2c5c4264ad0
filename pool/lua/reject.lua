-- Take a lease back whose holder found the container unfit before it used it. The container goes to recovery. With `again`
-- the request gets another one: a ready one at once, or else it waits where it stood in the queue.
-- Sent twice it gives the same answer: the record remembers the fence that was rejected.
-- KEYS: meta
-- ARGV: clock, request, fence, token, liveness, note, again
-- Returns: {'leased', now, container hash} | {'waiting', position, how long at most} | {'ended', state}
--          | {'lost', how the lease had ended}
local clock, request, fence, token, liveness, note, again = unpack(ARGV)

local m = call('HMGET', META, 'incarnation', 'weight', 'draining')
if not m[1] then return {'lost', 'gone'} end
local now = tick()
local key = P .. 'r:' .. request
local before = call('HMGET', key, 'rejected', 'token')
if before[1] == fence and before[2] == token then return answer_again(request, now) end
local id, ended = held_by(request, fence, token, now)
if not id then return {'lost', ended} end

local r = read_request(request)
finish(id, nil, 'unfit', now, 'reason', 'on_health_failure', 'note', note)
call('HSET', key, 'rejected', fence)
call('HDEL', key, 'begun')
-- Where a spare takes its place, that goes to the first in the queue. That may be this request, so it is put there before.
local back = again == '1' and not m[3] and r.wait_until > now and call('ZCARD', P .. 'q') > 0
if not back then enter(id, 'unhealthy', now) end
if again ~= '1' then return {'ended', 'unfit'} end
if m[3] then
  conclude(request, 'cancelled')
  return {'ended', 'cancelled'}
end
local ready = not back and call('ZRANGE', P .. 'ready', 0, 0)[1]
if ready then
  local at = tick() -- a fence of its own
  grant(ready, request, r, at, true)
  return leased(ready, at)
end
if r.wait_until <= now then
  conclude(request, 'timed_out')
  return {'ended', 'timed_out'}
end
if r.bundle and not r.front then
  promote(r.bundle, r.size, now)
  r.front = now - FRONT
end
call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), r.process)
enqueue(request, r, r.front or r.enqueued_at + tonumber(r.priority) * tonumber(m[2]), now)
if back then enter(id, 'unhealthy', now) end
return answer_again(request, now)
