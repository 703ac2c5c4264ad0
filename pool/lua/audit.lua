-- Append to a chain of audit entries, if its last entry still has the hash that the caller built on: two writers at once
-- cannot fork it, one of them is told to build anew. Sent twice, the second time appends nothing.
-- KEYS: meta
-- ARGV: clock, head, keep, ttl, entries...
-- Returns: 1, or 0 where the last entry is another
local clock, head, keep, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local FIRST = 5

local last, hash = call('XREVRANGE', P .. 'audit', '+', '-', 'COUNT', 1)[1], ''
for i = 1, last and #last[2] or 0, 2 do
  if last[2][i] == 'hash' then hash = last[2][i + 1] end
end
if hash ~= head then return 0 end
for i = FIRST, #ARGV, 2 do
  call('XADD', P .. 'audit', 'MAXLEN', '~', keep, '*', 'hash', ARGV[i], 'entry', ARGV[i + 1])
end
call('PEXPIRE', P .. 'audit', ttl)
return 1
