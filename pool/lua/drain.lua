-- Take no new request and end the waiting ones; leases go on until they are given back. `resume` undoes it, and `open`
-- does if it was a manager that wanted it; an operator's wish outlives managers.
-- `facts` go into the event.
-- KEYS: meta
-- ARGV: clock, by, facts...
-- Returns: how many containers are still leased
local clock, by = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return 0 end
if call('HGET', META, 'draining') ~= 'operator' then call('HSET', META, 'draining', by) end
local now = tick()
emit(now, 'pool.draining', unpack(ARGV, 3))
for _, request in ipairs(call('ZRANGE', P .. 'q', 0, -1)) do dequeue(request, 'cancelled', now) end
return call('ZCARD', P .. 'exp')
