-- Tell what timeout the history of a label recommends: what `acquire` takes for a request that names none.
-- KEYS: meta
-- ARGV: clock, label
-- Returns: 'unknown_pool' | {} where there is too little history | {samples, mean, p95, timeout}
local clock, label = unpack(ARGV)

local m = call('HMGET', META, 'incarnation', 'ttl', 'max_timeout', 'min_timeout')
if not m[1] then return 'unknown_pool' end
local timeout = adaptive_timeout(label, tonumber(m[2]), m[4], tonumber(m[3]))
if not timeout then return {} end
local v = call('HMGET', P .. 't:' .. label, 'samples', 'mean', 'p95')
return {v[1], v[2], v[3], int(timeout)}
