-- Claim the pool for one manager, renew the claim, or with a ttl of 0 give it up.
-- KEYS: meta
-- ARGV: clock, manager, ttl, info
-- Returns: {leading 0|1, info of the leader}
local clock, manager, ttl, info = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local key = P .. 'mgr'
local leader = call('HMGET', key, 'manager', 'info')
if leader[1] and leader[1] ~= manager then return {0, leader[2]} end
if ttl == 0 then
  call('DEL', key)
  return {0, ''}
end
call('HSET', key, 'manager', manager, 'info', info)
call('PEXPIRE', key, int(ttl / 1000))
return {1, info}
