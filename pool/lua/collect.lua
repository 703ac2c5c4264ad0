-- Ask what became of requests, and confirm those that were granted. Also says that the process lives.
-- State is authoritative, hints are not: a client asks after every hint, every reconnect, and about once a second.
-- KEYS: meta
-- ARGV: clock, process, liveness, requests...
-- Returns: for each request {'leased', now, container hash} | {'waiting'} | {how it ended} | {'gone'}
local clock, process, liveness = ARGV[1], ARGV[2], ARGV[3]

if call('EXISTS', META) == 0 then return {} end
local now = tick()
call('ZADD', P .. 'own', 'GT', int(now + tonumber(liveness)), process)
local replies = {}
for i = 4, #ARGV do
  local r = call('HMGET', P .. 'r:' .. ARGV[i], 'state', 'fence', 'token')
  local id, ended = nil, r[1] or 'gone'
  if ended == 'granted' or ended == 'leased' then
    id, ended = held_by(ARGV[i], r[2], r[3], now)
  end
  replies[#replies + 1] = id and lease_reply(id, now) or {ended}
end
return replies
