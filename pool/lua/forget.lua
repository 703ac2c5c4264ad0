-- Remove a pool that has no containers any more. What still tells its story expires by itself.
-- KEYS: meta
-- ARGV: clock
-- Returns: 1
local clock = ARGV[1]

forget_pool()
return 1
