-- Bring indexes and hashes into step, forget containers that left the configuration, let as many be in rotation as there
-- are places, and serve the queue. Where there are too many, those that are free stand by; a lease goes on.
-- A container that left while leased is forgotten once it is given back and this runs again; one that is quarantined,
-- once an operator has restored it.
-- KEYS: meta
-- ARGV: clock, containers...
-- Returns: {{containers unknown to Redis}, {containers forgotten}}
local clock = ARGV[1]

local now = tick()
local wanted, unknown, forgotten = {}, {}, {}
for i = 2, #ARGV do
  wanted[ARGV[i]] = true
  if call('HEXISTS', P .. 'c:' .. ARGV[i], 'state') == 0 then unknown[#unknown + 1] = ARGV[i] end
end
call('DEL', P .. 'rotation')
for _, id in ipairs(call('SMEMBERS', P .. 'ids')) do
  local key = P .. 'c:' .. id
  local v = call('HMGET', key, 'state', 'expires_at')
  if not v[1] or (not wanted[id] and v[1] ~= 'allocated' and v[1] ~= 'quarantined') then
    call('DEL', key)
    call('HDEL', P .. 'baselines', id)
    call('SREM', P .. 'ids', id)
    for _, name in ipairs(INDEXES) do call('ZREM', P .. name, id) end
    forgotten[#forgotten + 1] = id
    emit(now, 'container.forgotten', 'container', id)
  else
    if ROTATES[v[1]] then call('SADD', P .. 'rotation', id) end
    local index = index_of(id, v[1])
    for _, name in ipairs(INDEXES) do
      if index ~= name then
        call('ZREM', P .. name, id)
      elseif not call('ZSCORE', P .. name, id) then
        call('ZADD', P .. name, name == 'exp' and v[2] or int(now), id)
      end
    end
  end
end
local most = places()
for _, id in ipairs(most and call('SORT', P .. 'ids', 'ALPHA') or {}) do
  local v = call('HMGET', P .. 'c:' .. id, 'state', 'draining')
  if v[2] or call('SCARD', P .. 'rotation') > most then
    if v[1] == 'available' then settle(id, tick()) end
    if v[1] == 'paused' then hint('manager', id) end -- stands by once it is thawed
  end
end
fill()
while call('ZCARD', P .. 'q') > 0 do
  local id = call('ZRANGE', P .. 'ready', 0, 0)[1]
  if not id or not settle(id, tick()) then break end
end
return {unknown, forgotten}
