-- Delete keys of a pool that Redis does not know any more; none if it knows it again.
-- KEYS: meta
-- ARGV: clock, names...
-- Returns: how many were deleted, or -1 where the pool is known
local clock = ARGV[1]

if call('EXISTS', META) == 1 then return -1 end
local deleted = 0
for i = 2, #ARGV do deleted = deleted + call('DEL', P .. ARGV[i]) end
return deleted
