-- Tell how a request stands, and its lease where it has one. The caller compares the secret; nothing changes.
-- KEYS: meta
-- ARGV: clock, request
-- Returns: {} where it is not known, else {now, state, fence, token, the container's hash, empty unless it is leased}
local clock, request = ARGV[1], ARGV[2]

if call('EXISTS', META) == 0 then return {} end
local r = call('HMGET', P .. 'r:' .. request, 'state', 'fence', 'token')
if not r[1] then return {} end
local now = tick()
local id, ended = held_by(request, r[2], r[3], now)
return {int(now), id and 'leased' or ended, r[2] or '', r[3] or '', id and call('HGETALL', P .. 'c:' .. id) or {}}
