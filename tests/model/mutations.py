"""Ways to break the scripts on purpose. Each breaks a promise, and the state machine must notice every one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pool.scripts import Script, load_scripts


@dataclass(frozen=True, slots=True)
class Mutation:
    """A snippet of Lua and what to put in its place.

    Attributes:
        breaks: The promise that it breaks, as a name for the test.
        command: The command to change; None for what all commands share.
    """

    breaks: str
    command: str | None
    old: str
    new: str

    def scripts(self) -> Mapping[str, Script]:
        """Return all commands with this one broken.

        Raises:
            LookupError: The snippet is not there, or more than once, so that nothing is known to be broken.
        """
        return {name: self._apply(script) for name, script in load_scripts().items()}

    def _apply(self, script: Script) -> Script:
        if self.command not in (None, script.name):
            return script
        if (found := script.source.count(self.old)) != 1:
            raise LookupError(f"{self.breaks}: {self.old!r} is {found} times in {script.name}, not once")
        source = script.source.replace(self.old, self.new)
        return Script(script.name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


MUTATIONS = [
    Mutation("a stale fence holds a lease", None, "if r[3] ~= fence or", "fence = r[3] if"),
    Mutation(
        "a wrong token holds a lease",
        None,
        "or r[4] ~= token then return nil, 'stale' end",
        "then return nil, 'stale' end token = r[4]",
    ),
    Mutation("an expired lease still holds", None, "or tonumber(c[4]) <= now then", "then"),
    Mutation(
        "the last waiter is served first",
        None,
        "local request = call('ZRANGE', P .. 'q', 0, 0)[1]",
        "local request = call('ZRANGE', P .. 'q', -1, -1)[1]",
    ),
    Mutation(
        "a clean container waits for somebody to barge in",
        None,
        "local request = call('ZRANGE', P .. 'q', 0, 0)[1]",
        "local request = nil",
    ),
    Mutation("a dead waiter is given a container", None, "elseif not alive(r.process, now)", "elseif false"),
    Mutation("a waiter is served after its wait", None, "or r.wait_until <= now then", "then"),
    Mutation("a fence does not rise", None, "local fence = int(now)", "local fence = int(r.enqueued_at)"),
    Mutation("the clock follows the server's back", None, "now = last + 1", "now = raw"),
    Mutation(
        "priority is forgotten",
        "acquire",
        "arrived + tonumber(priority) * tonumber(m[2]), arrived)",
        "arrived, arrived)",
    ),
    Mutation(
        "the container that was used last is lent first",
        "acquire",
        "call('ZRANGE', P .. 'ready', 0, many - 1)",
        "call('ZREVRANGE', P .. 'ready', 0, many - 1)",
    ),
    Mutation("a request sent again is a new one", "acquire", "call('EXISTS', P .. 'r:' .. names[1]) == 1", "false"),
    Mutation(
        "another owner gets the lease of a request",
        "acquire",
        "if prior[2] and prior[2] ~= owner then",
        "if false then",
    ),
    Mutation(
        "a heartbeat moves the deadline",
        "heartbeat",
        "expiry = math.min(now + tonumber(v[1]), tonumber(v[2]))",
        "expiry = now + tonumber(v[1])",
    ),
    Mutation(
        "the reaper does not see what heartbeats do",
        None,
        "call('ZADD', P .. 'exp', int(expires), id)\nend",
        "end",
    ),
    Mutation("unconfirmed grants are kept", "reap", "if v[1] == '0' then\n    finish", "if false then\n    finish"),
    Mutation(
        "an expired lease is given on uncleaned",
        "reap",
        "leases = leases + 1",
        "settle(id, tick()) leases = leases + 1",
    ),
    Mutation(
        "a released container is given on uncleaned",
        "release",
        "call('HGET', META, 'hand_over') == '1'",
        "true",
    ),
    Mutation(
        "a cancelled lease is given on uncleaned",
        "cancel",
        "if r[1] == 'leased' and (r[5] or not r[4]) then",
        "if false then",
    ),
    Mutation("a cancel does not outlive its acquire", "cancel", "conclude(request, 'cancelled')\n", "\n"),
    Mutation(
        "a collected grant stays unconfirmed",
        None,
        "if v[1] == '0' then\n    local expires",
        "if false then\n    local expires",
    ),
    Mutation("a lost race moves a container", "transition", "or v[2] ~= revision then", "then"),
    Mutation("a revoked lease lives on", "transition", "if from == 'allocated' then", "if false then"),
    Mutation("nobody is woken for a grant", None, "hint(r.process, request)", ""),
    Mutation("an extension sent again counts twice", "extend", "used == tonumber(known) + 1", "false"),
    Mutation(
        "a token is in an event", None, "'fence', fence, 'waited_us'", "'token', r.token, 'fence', fence, 'waited_us'"
    ),
]
#: Those that bundles, or unfit containers, are needed for.
MUTATIONS_OF_BUNDLES = [
    Mutation(
        "the rest of a bundle waits behind others",
        None,
        "if r.bundle and not r.front then promote",
        "if false then promote",
    ),
    Mutation(
        "a bundle gets what there is and waits at its place for the rest",
        "acquire",
        "if left > 0 and left < many then promote",
        "if false then promote",
    ),
    Mutation("half a bundle is taken on", "acquire", "if wait <= 0 then", "if wait <= 0 and left == many then"),
    Mutation("a bundle counts as one lease", "acquire", "over_limit(m[10], many,", "over_limit(m[10], 1,"),
    Mutation("two leases of a bundle have one fence", "acquire", "i == 1 and arrived or tick()", "arrived"),
    Mutation(
        "a lease may begin again and again",
        "begin",
        "call('HSETNX', P .. 'r:' .. ARGV[i], 'begun', '1') == 1",
        "true",
    ),
    Mutation(
        "an unfit container is lent on",
        "reject",
        "if not back then enter(id, 'unhealthy', now) end",
        "if not back then settle(id, tick()) end",
    ),
    Mutation(
        "who got an unfit container goes to the end of the queue",
        "reject",
        "r.front or r.enqueued_at +",
        "now +",
    ),
    Mutation("an unfit container is rejected twice", "reject", "if before[1] == fence and", "if false and"),
]

#: What only `DrainingMachine` can notice.
MUTATIONS_OF_DRAINING = [
    Mutation("nobody thaws what is frozen", None, "hint('manager', frozen)", ""),
    Mutation("a draining container goes to the best waiter", None, "while not draining do", "while true do"),
    Mutation("a draining container is lent", None, "return not (free and", "return not (false and"),
    Mutation("a resumed container passes the queue by", "resume", "then settle(id, now)", "then enter(id, state, now)"),
    Mutation("a quarantined container is forgotten", "reconcile", " and v[1] ~= 'quarantined'", ""),
]

#: What only `SpareMachine` can notice.
MUTATIONS_OF_SPARES = [
    Mutation(
        "more are in rotation than there are places",
        None,
        "- (ROTATES[v[1]] and 1 or 0) >= most",
        "- (ROTATES[v[1]] and 1 or 0) > most",
    ),
    Mutation("who comes back clean finds its own place taken", None, "- (ROTATES[v[1]] and 1 or 0) >=", ">="),
    Mutation("a place is left empty", None, "if ROTATES[was] and not ROTATES[state] then fill(id) end", ""),
    Mutation("what is being cleaned has no place", None, "paused = true, cleaning = true}", "paused = true}"),
    Mutation(
        "who leaves the rotation still counts",
        None,
        "call(ROTATES[state] and 'SADD' or 'SREM', P .. 'rotation', id)",
        "call('SADD', P .. 'rotation', id)",
    ),
    Mutation(
        "the spare that came last steps in first",
        None,
        "call('ZRANGE', P .. 'spares'",
        "call('ZREVRANGE', P .. 'spares'",
    ),
    Mutation(
        "every spare steps in at once",
        None,
        "if most and call('SCARD', P .. 'rotation') >= most then return end",
        "if false then return end",
    ),
    Mutation(
        "a spare has the fence of another lease",
        None,
        "local now = tick() -- a",
        "local now = call('HGET', META, 'tick') -- a",
    ),
    Mutation("a spare is lent", None, "spare = 'spares'", "spare = 'ready'"),
    Mutation("who drains keeps its place", None, "if most and (draining or", "if most and ("),
    Mutation("a draining spare steps in", None, " or index == 'spares'", ""),
    Mutation(
        "who is drained while idle keeps its place",
        "drain_container",
        "if state == 'available' then settle(id, now) end",
        "",
    ),
    Mutation(
        "who is drained while frozen keeps its place",
        "drain_container",
        "if state == 'paused' then hint('manager', id) end",
        "",
    ),
    Mutation("a resumed spare leaves a place empty", "resume", "    fill()\n", ""),
    Mutation("a resumed spare never steps in again", "resume", "    enter(id, state, now)\n", ""),
    Mutation("a bundle counts on spares", "acquire", "tonumber(m[16] or '') or math.huge", "math.huge"),
    Mutation(
        "a spare passes by who got an unfit container",
        "reject",
        "r.wait_until > now and call('ZCARD', P .. 'q') > 0",
        "false",
    ),
    Mutation("what is unfit keeps its place", "reject", "if back then enter(id, 'unhealthy', now) end", ""),
    Mutation("who is forgotten keeps its place", "reconcile", "call('DEL', P .. 'rotation')\n", ""),
    Mutation(
        "the books stay without a rotation",
        "reconcile",
        "if ROTATES[v[1]] then call('SADD', P .. 'rotation', id) end",
        "",
    ),
    Mutation(
        "a smaller pool stays as it was",
        "reconcile",
        "if v[2] or call('SCARD', P .. 'rotation') > most then",
        "if v[2] then",
    ),
    Mutation("who drained before there were spares keeps its place", "reconcile", "if v[2] or call(", "if call("),
    Mutation(
        "what is frozen in a smaller pool is not thawed",
        "reconcile",
        "if v[1] == 'paused' then hint('manager', id) end",
        "",
    ),
    Mutation("a larger pool stays as it was", "reconcile", "\nfill()\n", "\n"),
]
