-- Lend a draining container again, or with an empty id the whole pool. A free container serves the queue in this step; a
-- spare takes a place, if one is free. `facts` go into the event.
-- KEYS: meta
-- ARGV: clock, id, facts...
-- Returns: 'resumed' | 'unknown_pool' | 'unknown'
local clock, id = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return 'unknown_pool' end
if id == '' then
  if call('HDEL', META, 'draining') == 1 then emit(tick(), 'pool.resumed', unpack(ARGV, 3)) end
  return 'resumed'
end
local key = P .. 'c:' .. id
local state = call('HGET', key, 'state')
if not state then return 'unknown' end
if call('HDEL', key, 'draining') == 1 then
  local now = tick()
  emit(now, 'container.resumed', 'container', id, unpack(ARGV, 3))
  if state == 'paused' then
    place(id, state, now)
    if call('ZCARD', P .. 'q') > 0 then hint('manager', id) end
  end
  if state == 'available' then settle(id, now) end
  if state == 'spare' then
    enter(id, state, now)
    fill()
  end
end
return 'resumed'
