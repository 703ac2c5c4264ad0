-- Give a leased container back. It goes to cleaning; whatever makes it available again serves the queue.
-- In a pool that resets nothing after a passed lease, the best waiter gets it in this very step.
-- KEYS: meta
-- ARGV: clock, request, fence, token, outcome
-- Returns: 'released', or why the lease holds nothing: 'released_before' | 'stale' | 'lost' | 'gone' | 'cancelled'
local clock, request, fence, token, outcome = unpack(ARGV)

local KEPT, ENOUGH, FEW, TTL_MS = 100, 5, 20, 2592000000
local WIDTH, WIDEST = 12, 999999999999

-- Keep how long a lease took under its label, newest first, all as wide. What that recommends is worked out here, where
-- nobody waits for it, and once there are more than a few, for every tenth only: the 95th percentile (the nearest rank)
-- half as long again, or twice the mean.
local function remember(label, took)
  local key = P .. 't:' .. label
  local v = call('HMGET', key, 'durations', 'seen')
  local durations = string.sub(string.format('%012.0f', math.min(took, WIDEST)) .. (v[1] or ''), 1, KEPT * WIDTH)
  local seen, samples = tonumber(v[2] or '0') + 1, #durations / WIDTH
  call('HSET', key, 'durations', durations, 'seen', seen)
  call('PEXPIRE', key, TTL_MS)
  if samples < ENOUGH or (samples > FEW and seen % 10 > 0) then return end
  local sorted, sum = {}, 0
  for i = 1, samples do
    sorted[i] = tonumber(string.sub(durations, (i - 1) * WIDTH + 1, i * WIDTH))
    sum = sum + sorted[i]
  end
  table.sort(sorted)
  local p95, mean = sorted[math.ceil(samples * 95 / 100)], sum / samples
  call('HSET', key, 'samples', samples, 'mean', int(mean), 'p95', int(p95), 'timeout', int(math.max(p95 * 1.5, mean * 2)))
end

if call('EXISTS', META) == 0 then return 'gone' end
local now = tick()
local id, ended = held_by(request, fence, token, now)
if not id then
  if ended == 'released' then return 'released_before' end
  return ended
end
local label = call('HGET', P .. 'r:' .. request, 'label')
if label and outcome ~= 'error' then remember(label, now - tonumber(call('HGET', P .. 'c:' .. id, 'granted_at'))) end
local hand_over = outcome == 'passed' and call('HGET', META, 'hand_over') == '1'
finish(id, not hand_over and 'cleaning', 'released', now, 'reason', 'on_release', 'outcome', outcome)
if hand_over then settle(id, now) end
return 'released'
