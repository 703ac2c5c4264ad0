-- Read a whole pool at one moment. Lease tokens stay where they are.
-- KEYS: meta
-- ARGV: clock
-- Returns: {} | {now, meta hash, manager's info, {container hash...}, {{request, owner, priority, enqueued_at, first}...}}
local clock = ARGV[1]

if call('EXISTS', META) == 0 then return {} end
local now = int(tick())
local containers, queue = {}, {}
for _, id in ipairs(call('SORT', P .. 'ids', 'ALPHA')) do
  local fields, open = call('HGETALL', P .. 'c:' .. id), {'id', id}
  for i = 1, #fields, 2 do
    if fields[i] ~= 'token' then
      open[#open + 1] = fields[i]
      open[#open + 1] = fields[i + 1]
    end
  end
  containers[#containers + 1] = open
end
for _, request in ipairs(call('ZRANGE', P .. 'q', 0, -1)) do
  local r = call('HMGET', P .. 'r:' .. request, 'owner', 'priority', 'enqueued_at', 'front')
  queue[#queue + 1] = {request, r[1] or '', r[2] or '2', r[3] or now, r[4] and '1' or '0'}
end
return {now, call('HGETALL', META), call('HGET', P .. 'mgr', 'info') or '', containers, queue}
