-- Read what tells whether a pool is overloaded: the queue, and from the newest events how long requests waited and how
-- leases ended. The events have all of it, so that a grant and a release do no more for this than they do anyway.
-- KEYS: meta
-- ARGV: clock, after, limit
-- Returns: {} | {now, why it is degraded or '', queued, last event, {granted at, waited...}, {ended at, outcome...}}
local clock, after, limit = unpack(ARGV)

if call('EXISTS', META) == 0 then return {} end
local waits, ends, last = {}, {}, after
local entries = call('XREVRANGE', P .. 'events', '+', after == '' and '-' or '(' .. after, 'COUNT', limit)
for i = #entries, 1, -1 do
  local fact = {}
  for j = 1, #entries[i][2], 2 do fact[entries[i][2][j]] = entries[i][2][j + 1] end
  if fact.type == 'lease.granted' then
    waits[#waits + 1] = fact.at
    waits[#waits + 1] = fact.waited_us
  elseif fact.type == 'lease.released' or fact.type == 'lease.lost' then
    ends[#ends + 1] = fact.at
    ends[#ends + 1] = fact.type == 'lease.lost' and 'lost' or fact.outcome
  end
  last = entries[i][1]
end
return {int(tick()), call('HGET', META, 'degraded') or '', call('ZCARD', P .. 'q'), last, waits, ends}
