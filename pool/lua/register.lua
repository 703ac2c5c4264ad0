-- Make a container known, or bring what is known about it up to date. The state of a known one stays.
-- KEYS: meta
-- ARGV: clock, id, state, generation, spec, info
-- Returns: {created 0|1, state, revision}
local clock, id, state, generation, spec, info = unpack(ARGV)

local key = P .. 'c:' .. id
local created = call('HEXISTS', key, 'state') == 0
if not created and call('HGET', key, 'generation') ~= generation then
  call('HSET', key, 'uses', '0')
end
call('SADD', P .. 'ids', id)
call('HSET', key, 'generation', generation, 'spec', spec, 'info', info)
if created then
  local now = tick()
  call('HSET', key, 'fence', '0', 'uses', '0', 'failures', '0', 'level', '0')
  enter(id, state, now)
  emit(now, 'container.registered', 'container', id, 'state', state, 'generation', generation)
end
local v = call('HMGET', key, 'state', 'revision')
return {created and 1 or 0, v[1], v[2]}
