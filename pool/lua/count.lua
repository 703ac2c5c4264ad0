-- Add to the pool's counters what was counted in its events, if they still stand where the caller read them: no event
-- counts twice, whoever counts. Sent twice, the second time adds nothing. `turn` names this addition, `known` the last.
-- KEYS: meta
-- ARGV: clock, known, turn, seen, ttl, counters...
-- Returns: 1, or 0 where somebody else counted meanwhile
local clock, known, turn, seen, ttl = unpack(ARGV)
local FIRST = 6

local key = P .. 'metrics'
local last = call('HGET', key, 'turn') or ''
if last == turn then return 1 end
if last ~= known then return 0 end
for i = FIRST, #ARGV, 2 do call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
call('HSET', key, 'turn', turn, 'seen', seen)
call('PEXPIRE', key, ttl)
return 1
