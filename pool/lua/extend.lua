-- Move a lease's deadline further into the future: for a reason, a counted number of times, never beyond the pool's
-- longest lease. Both the extension and its denial are events. `known` is how many extensions the holder knows of, or
-- empty: one more than that means that this very extension came through before, and its reply was lost.
-- KEYS: meta
-- ARGV: clock, request, fence, token, extra, reason, known
-- Returns: {'extended', now, container hash} | {'denied', 'count'|'bound', limit} | {how the lease had ended}
local clock, request, fence, token, extra, reason, known = unpack(ARGV)

if call('EXISTS', META) == 0 then return {'gone'} end
local now = tick()
local id, ended = held_by(request, fence, token, now)
if not id then return {ended} end
local key = P .. 'c:' .. id
local v = call('HMGET', key, 'ttl', 'deadline_at', 'granted_at', 'extensions', 'owner')
local used, allowed = tonumber(v[4]), tonumber(call('HGET', META, 'max_extensions'))
local longest = tonumber(call('HGET', META, 'max_timeout'))
if known ~= '' and used == tonumber(known) + 1 then return {'extended', int(now), call('HGETALL', key)} end
local deadline = tonumber(v[2]) + tonumber(extra)
local denied = (used >= allowed and {'count', allowed}) or (deadline - tonumber(v[3]) > longest and {'bound', longest})
if denied then
  emit(now, 'lease.extension_denied', 'container', id, 'request', request, 'owner', v[5], 'reason', reason, 'why', denied[1])
  return {'denied', denied[1], int(denied[2])}
end
local expires = math.min(now + tonumber(v[1]), deadline)
call('HSET', key, 'deadline_at', int(deadline), 'extensions', used + 1)
keep(id, expires)
call('PEXPIRE', P .. 'r:' .. request, int((deadline - now) / 1000 + ENDED_TTL_MS))
emit(now, 'lease.extended', 'container', id, 'request', request, 'owner', v[5], 'extra_us', extra, 'reason', reason)
return {'extended', int(now), call('HGETALL', key)}
