-- Keep what was seen of containers: what they use, for status; what is the matter with them, as events when it begins
-- and ends. Changes no state. A container takes five arguments: id, sample, conditions that hold, conditions that do
-- not (each a list of words; those in neither stay as they are), and a note for the events.
-- KEYS: meta
-- ARGV: clock, containers...
-- Returns: how many of the containers are known
local clock = ARGV[1]

if call('EXISTS', META) == 0 then return 0 end
local now = tick()

local function observe(id, sample, hold, gone, note)
  local key = P .. 'c:' .. id
  local v = call('HMGET', key, 'generation', 'born_as', 'conditions', 'owner', 'request')
  if not v[1] then return 0 end
  if v[1] ~= v[2] then call('HSET', key, 'born_as', v[1], 'born_at', int(now)) end
  if sample ~= '' then call('HSET', key, 'sample', sample, 'sampled_at', int(now)) end
  local conditions = {}
  for word in string.gmatch(v[3] or '', '%S+') do conditions[word] = true end
  local function tell(event)
    emit(now, event, 'container', id, 'owner', v[4] or '', 'request', v[5] or '', 'note', note, 'sample', sample)
  end
  for word in string.gmatch(hold, '%S+') do
    if not conditions[word] then
      conditions[word] = true
      tell('container.' .. word)
    end
  end
  for word in string.gmatch(gone, '%S+') do
    if conditions[word] then
      conditions[word] = nil
      tell('container.' .. word .. '_over')
    end
  end
  local words = {}
  for word in pairs(conditions) do words[#words + 1] = word end
  table.sort(words)
  call('HSET', key, 'conditions', table.concat(words, ' '))
  return 1
end

local known = 0
for i = 2, #ARGV, 5 do known = known + observe(unpack(ARGV, i, i + 4)) end
return known
