-- Add to the pool's counters what was counted in its events, if they still stand where the caller read them: no event
-- counts twice, whoever counts. Sent twice, the second time adds nothing. `turn` names this addition, `known` the last.
-- The first `counters` values after the head are pairs: counter, by how much. The rest is what is kept by the hour, in
-- threes: hour, field, value. It is added; a field that begins with ^ keeps the greatest, one with = the last. What
-- `owner|<what>|<name>` says of an owner goes to (others) where an hour tells `owners` of them apart already.
-- KEYS: meta
-- ARGV: clock, known, turn, seen, ttl, kept, owners, counters, values...
-- Returns: 1, or 0 where somebody else counted meanwhile
local clock, known, turn, seen, ttl, kept, owners, counters = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local FIRST = 9

local key = P .. 'metrics'
local last = call('HGET', key, 'turn') or ''
if last == turn then return 1 end
if last ~= known then return 0 end

local touched = {}

local function told_apart(hour, name)
  local names = touched[hour]
  if not names[name] then
    local marker = 'owner||' .. name
    if call('HEXISTS', hour, marker) == 1 then
      names[name] = name
    elseif tonumber(call('HGET', hour, 'owners') or '0') < tonumber(owners) then
      call('HSET', hour, marker, '1')
      call('HINCRBY', hour, 'owners', 1)
      names[name] = name
    else
      names[name] = '(others)'
    end
  end
  return names[name]
end

local function add(hour, field, value)
  local kind = string.sub(field, 1, 1)
  if kind == '=' then
    call('HSET', hour, field, value)
  elseif kind == '^' then
    if tonumber(value) > tonumber(call('HGET', hour, field) or '-1') then call('HSET', hour, field, value) end
  else
    local what, name = string.match(field, '^owner|(%l+)|(.*)$')
    if what then field = 'owner|' .. what .. '|' .. told_apart(hour, name) end
    call('HINCRBYFLOAT', hour, field, value)
  end
end

local rest = FIRST + tonumber(counters)
for i = FIRST, rest - 1, 2 do call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
for i = rest, #ARGV, 3 do
  local hour = P .. 'hour:' .. ARGV[i]
  if not touched[hour] then
    touched[hour] = {}
    call('HSET', hour, 'turn', turn)
    call('PEXPIRE', hour, kept)
    call('SADD', P .. 'live', ARGV[i])
    call('PEXPIRE', P .. 'live', kept)
  end
  add(hour, ARGV[i + 1], ARGV[i + 2])
end
call('HSET', key, 'turn', turn, 'seen', seen)
call('PEXPIRE', key, ttl)
return 1
