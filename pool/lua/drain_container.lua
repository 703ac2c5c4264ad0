-- Keep a container from its next lease. What holds it goes on; it is reset and kept ready afterwards, for nobody, until
-- `resume`.
-- KEYS: meta
-- ARGV: clock, id
-- Returns: 'draining' | 'unknown_pool' | 'unknown'
local clock, id = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return 'unknown_pool' end
local key = P .. 'c:' .. id
local state = call('HGET', key, 'state')
if not state then return 'unknown' end
if call('HSETNX', key, 'draining', '1') == 1 then
  local now = tick()
  if state == 'available' or state == 'paused' then place(id, state, now) end
  emit(now, 'container.draining', 'container', id)
end
return 'draining'
