-- Open a pool: create it if Redis does not know it, and write its settings.
-- A created pool has a new incarnation: nothing that was lent before is known any more.
-- KEYS: meta
-- ARGV: clock, incarnation, settings...
-- Returns: {created 0|1, incarnation}
local clock, incarnation = ARGV[1], ARGV[2]

local created = call('HSETNX', META, 'incarnation', incarnation)
call('HSET', META, unpack(ARGV, 3))
if call('HGET', META, 'draining') == 'manager' then call('HDEL', META, 'draining') end
local now = tick()
call('PERSIST', P .. 'events')
if created == 1 then emit(now, 'pool.created', 'incarnation', incarnation) end
return {created, call('HGET', META, 'incarnation')}
