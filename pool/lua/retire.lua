-- Remove a pool that no configuration knows any more, unless somebody needs it. Who still waits is told.
-- KEYS: meta
-- ARGV: clock
-- Returns: '' once it is gone | 'managed', who | 'leased', by whom | 'quarantined', which
local clock = ARGV[1]

if call('EXISTS', META) == 0 then return {''} end
local manager = call('HGET', P .. 'mgr', 'info')
if manager then return {'managed', manager} end
for _, id in ipairs(call('SMEMBERS', P .. 'ids')) do
  local v = call('HMGET', P .. 'c:' .. id, 'state', 'owner')
  if v[1] == 'allocated' then return {'leased', v[2]} end
  if v[1] == 'quarantined' then return {'quarantined', id} end
end
local now = tick()
for _, request in ipairs(call('ZRANGE', P .. 'q', 0, -1)) do dequeue(request, 'cancelled', now) end
emit(now, 'pool.retired')
forget_pool()
return {''}
