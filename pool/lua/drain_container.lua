-- Keep a container from its next lease. What holds it goes on; it is reset and kept ready afterwards, for nobody, until
-- `resume`. In a pool with spares one of them takes its place as soon as nobody holds it; a frozen one is thawed for that.
-- `facts` go into the event.
-- KEYS: meta
-- ARGV: clock, id, facts...
-- Returns: 'draining' | 'unknown_pool' | 'unknown'
local clock, id = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return 'unknown_pool' end
local key = P .. 'c:' .. id
local state = call('HGET', key, 'state')
if not state then return 'unknown' end
if call('HSETNX', key, 'draining', '1') == 1 then
  local now = tick()
  if state == 'available' or state == 'paused' or state == 'spare' then place(id, state, now) end
  emit(now, 'container.draining', 'container', id, unpack(ARGV, 3))
  if places() then
    if state == 'available' then settle(id, now) end
    if state == 'paused' then hint('manager', id) end
  end
end
return 'draining'
