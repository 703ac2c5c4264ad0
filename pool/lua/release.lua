-- Give a leased container back. It goes to cleaning; whatever makes it available again serves the queue.
-- In a pool that resets nothing after a passed lease, the best waiter gets it in this very step.
-- KEYS: meta
-- ARGV: clock, request, fence, token, outcome
-- Returns: 'released', or why the lease holds nothing: 'released_before' | 'stale' | 'lost' | 'gone' | 'cancelled'
local clock, request, fence, token, outcome = unpack(ARGV)

local id, ended = held_by(request, fence, token)
if not id then
  if ended == 'released' then return 'released_before' end
  return ended
end
local now = tick()
finish(id, 'cleaning', 'released', now, 'reason', 'on_release', 'outcome', outcome)
if outcome == 'passed' and call('HGET', META, 'hand_over') == '1' then settle(id, tick()) end
return 'released'
