-- Say that a pool is degraded, and why, or that it is not any more, if it still is what the caller read.
-- The facts go into the event.
-- KEYS: meta
-- ARGV: clock, from, to, facts...
-- Returns: 1, or 0 for a lost race
local clock, from, to = ARGV[1], ARGV[2], ARGV[3]

if call('EXISTS', META) == 0 or (call('HGET', META, 'degraded') or '') ~= from or from == to then return 0 end
local now = tick()
if to == '' then
  call('HDEL', META, 'degraded')
  emit(now, 'pool.recovered', 'from', from, unpack(ARGV, 4))
else
  call('HSET', META, 'degraded', to)
  emit(now, 'pool.degraded', 'why', to, unpack(ARGV, 4))
end
return 1
