-- Take no new request and end the waiting ones; leases go on until they are given back. `open` undoes it.
-- KEYS: meta
-- ARGV: clock
-- Returns: how many containers are still leased
local clock = ARGV[1]

if call('EXISTS', META) == 0 then return 0 end
call('HSET', META, 'draining', '1')
local now = tick()
emit(now, 'pool.draining')
for _, request in ipairs(call('ZRANGE', P .. 'q', 0, -1)) do dequeue(request, 'cancelled', now) end
return call('ZCARD', P .. 'exp')
