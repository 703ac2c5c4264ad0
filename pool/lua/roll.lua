-- Keep an hour that is over as one packed entry, in place of its counters, if nothing was added to them since the caller
-- read them. What comes late begins counters of that hour anew, and whoever rolls them up adds the entry that is there.
-- Of more than `keep` hours the oldest go; not by the clock, so that one that jumps ahead costs nothing.
-- KEYS: meta
-- ARGV: clock, hour, turn, entry, keep, ttl
-- Returns: 1, or 0 where somebody else rolled it up, or added to it
local clock, hour, turn, entry, keep, ttl = unpack(ARGV)

local live, hours = P .. 'hour:' .. hour, P .. 'hours'
if call('HGET', live, 'turn') ~= turn then return 0 end
call('HSET', hours, hour, entry)
call('DEL', live)
call('SREM', P .. 'live', hour)
local more = call('HLEN', hours) - tonumber(keep)
if more > 0 then
  local known = call('HKEYS', hours)
  table.sort(known, function(one, other) return tonumber(one) < tonumber(other) end)
  for i = 1, more do call('HDEL', hours, known[i]) end
end
call('PEXPIRE', hours, ttl)
return 1
