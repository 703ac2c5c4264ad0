-- Remove a pool that has no containers any more. What still tells its story expires by itself.
-- KEYS: meta
-- ARGV: clock
-- Returns: 1
local clock = ARGV[1]

for _, id in ipairs(call('SMEMBERS', P .. 'ids')) do call('DEL', P .. 'c:' .. id) end
for _, name in ipairs({'meta', 'ids', 'ready', 'exp', 'work', 'q', 'wdl', 'own', 'held', 'queued', 'mgr', 'baselines'}) do call('DEL', P .. name) end
call('PEXPIRE', P .. 'events', 24 * ENDED_TTL_MS)
return 1
