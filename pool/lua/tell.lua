-- Put an event into the pool's stream. Sent twice it is there twice.
-- KEYS: meta
-- ARGV: clock, kind, facts...
-- Returns: 1, or 0 where the pool is not known
local clock, kind = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return 0 end
emit(tick(), kind, unpack(ARGV, 3))
return 1
