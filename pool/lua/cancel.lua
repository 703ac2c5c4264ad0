-- Withdraw a request, in any race with its grant. Waiting: it leaves the queue. Granted but never confirmed: the
-- container is unused and goes to the next waiter, and so does one of a bundle that was never begun. Leased otherwise:
-- somebody may have used it, so it is cleaned.
-- An unknown request is remembered as cancelled: its acquire may still be on its way.
-- KEYS: meta
-- ARGV: clock, request, token
-- Returns: 'cancelled' | 'released' | 'conflict' | 'unknown_pool', or how the request had ended before
local clock, request, token = unpack(ARGV)

if call('EXISTS', META) == 0 then return 'unknown_pool' end
local r = call('HMGET', P .. 'r:' .. request, 'state', 'token', 'fence', 'bundle', 'begun')
if not r[1] then
  conclude(request, 'cancelled')
  return 'cancelled'
end
if r[2] and r[2] ~= token then return 'conflict' end
if r[1] == 'waiting' then
  dequeue(request, 'cancelled', tick())
  return 'cancelled'
end
if r[1] ~= 'granted' and r[1] ~= 'leased' then return r[1] end
local now = tick()
local id, ended = held_by(request, r[3], token, now)
if not id then return ended end
if r[1] == 'leased' and (r[5] or not r[4]) then
  finish(id, 'cleaning', 'released', now, 'reason', 'on_release', 'outcome', 'error')
  return 'released'
end
finish(id, nil, 'cancelled', now)
settle(id, tick())
return 'cancelled'
