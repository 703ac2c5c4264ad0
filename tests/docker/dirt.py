"""What tenants leave behind, as the workload's user can plant it, and the level of reset that is known to cure it.

The files of the image that belong to the workload are those of `IMAGE`: more than a good image has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pool.models import ResetLevel

#: The sample image, with a program, a crontab and settings that belong to the workload's user.
IMAGE = """\
FROM containerpool-sample:latest
USER root
RUN ["/bin/sh", "-euc", "\\
  mkdir -p /home/app/bin /var/spool/cron/crontabs /opt/shared; mkdir -m 1777 /scratch /state; \\
  cp /srv/idle /home/app/bin/tool; echo MODE=safe >/home/app/.env; echo '# none' >/var/spool/cron/crontabs/app; \\
  chown -R app:app /home/app/bin /home/app/.env /var/spool/cron/crontabs/app /opt/shared"]
USER app
ENV PATH=/home/app/bin:/bin
"""

#: The pool's recipe: it knows temporary places, caches, logs, and one file of settings that may be written.
RECIPE = {
    "keep_processes": ["server", "nc"],
    "temporary": ["/tmp/*", "/var/tmp/*", "/dev/shm/*", "/dev/mqueue/*", "/scratch/*"],
    "caches": ["/home/app/cache/*", "/home/app/profile/*"],
    "logs": ["/home/app/logs/*"],
    "environment": ["rm -f /home/app/.envrc"],
}
CONTAINER = {
    "entrypoint": ["/bin/su", "app", "-c", "mkdir /state/kept; : >/state/kept/file; exec /srv/server"],
    "tmpfs": {"/scratch": "size=4m,mode=1777", "/state": "size=1m,mode=1777"},
    "shm_size": "4m",
    "pids_limit": 64,
    "memory": "128m",
}


@dataclass(frozen=True, slots=True)
class Dirt:
    """One kind of dirt.

    Attributes:
        plant: What the leaseholder runs in the container, as `user`.
        shows: What succeeds, run as the workload's user, as long as the dirt is there.
        cured_by: The level that gets rid of it.
        runs: How the command line of a process that is dirt begins, seen from outside; in place of `shows`.
        or_by: What does it where the first level runs out of time: a bomb may be faster than a loaded machine.
    """

    plant: str
    shows: str
    cured_by: ResetLevel
    user: str = "app"
    runs: str = ""
    or_by: ResetLevel | None = None


SOFT, HARD, RECREATE = ResetLevel.SOFT, ResetLevel.HARD, ResetLevel.RECREATE


def file(path: str, cured_by: ResetLevel, *, user: str = "app") -> Dirt:
    return Dirt(f"echo mine >'{path}'", f"[ -e '{path}' ]", cured_by, user)


def process(script: str, words: str, cured_by: ResetLevel = SOFT) -> Dirt:
    """A process that goes on after the command that started it; it holds none of its streams."""
    return Dirt(f"( {script}\n) </dev/null >/dev/null 2>&1", "false", cured_by, runs=words)


PLACES = {
    "a temporary file": file("/tmp/file", SOFT),
    "a hidden temporary file": file("/var/tmp/.hidden", SOFT),
    "a file in shared memory": file("/dev/shm/file", SOFT),
    "a file in a tmpfs": file("/scratch/file", SOFT),
    "a file deep in a tmpfs that is not wiped": Dirt(
        "mkdir /state/kept/deep && echo mine >/state/kept/deep/file", "[ -e /state/kept/deep/file ]", HARD
    ),
    "a message queue": Dirt("touch /dev/mqueue/mine", "[ -e /dev/mqueue/mine ]", SOFT),
    "a file in a cache": file("/home/app/cache/picture", SOFT),
    "a cookie in the profile": file("/home/app/profile/cookies", SOFT),
    "lines in a log": Dirt("echo mine >>/home/app/logs/server.log", "[ -s /home/app/logs/server.log ]", SOFT),
    "a log of its own": Dirt("echo mine >/home/app/logs/mine.log", "[ -e /home/app/logs/mine.log ]", RECREATE),
    "a file in the home": file("/home/app/note", RECREATE),
    "a file elsewhere": file("/opt/shared/note", RECREATE),
    "a file of another user": file("/tmp/theirs", SOFT, user="4242"),
    "a directory that only another user may enter": Dirt(
        "mkdir -m 700 /tmp/private && echo theirs >/tmp/private/file", "[ -d /tmp/private ]", SOFT, "4242:4242"
    ),
}

SHAPES = {
    "a file and a directory without any permission": Dirt(
        "mkdir /tmp/locked && echo mine >/tmp/locked/file && chmod 0 /tmp/locked/file /tmp/locked",
        "[ -e /tmp/locked ]",
        SOFT,
    ),
    "links out of the temporary places": Dirt(
        "ln -s / /tmp/root && ln -s /home/app/.env /tmp/env && ln -s /nowhere /tmp/nowhere", "[ -L /tmp/root ]", SOFT
    ),
    "a second name of a log": Dirt("ln /home/app/logs/server.log /tmp/twin", "[ -e /tmp/twin ]", SOFT),
    "ten thousand files": Dirt(
        "cd /scratch && mkdir many && seq 1 5000 | xargs touch && cd many && seq 1 5000 | xargs touch",
        "[ -e /scratch/5000 ] && [ -e /scratch/many/5000 ]",
        SOFT,
    ),
    "two hundred directories, one in the other": Dirt(
        "mkdir -p /tmp/$(printf 'd/%.0s' $(seq 1 200))", "[ -d /tmp/d/d/d/d ]", SOFT
    ),
    "a tree that is deeper than a path is long": Dirt(
        "cd /tmp && top=d && mkdir d && for n in $(seq 1 50); do"
        " name=$(printf '%0200d' $n) && mkdir $name && mv $top $name && top=$name; done && mv $top /tmp/d",
        "[ -d /tmp/d ]",
        RECREATE,
    ),
    "names of odd characters": Dirt(
        r"""cd /tmp && touch -- -rf '*' ' ' "$(printf 'a\nb')" "$(printf '\033[2J\r')" "$(printf '\377')" """,
        "[ -e /tmp/-rf ]",
        SOFT,
    ),
    "a file whose name continues another one's": Dirt(
        r"""touch "/state/$(printf 'kept\nmine')" """, r"""[ -e "/state/$(printf 'kept\nmine')" ]""", HARD
    ),
    "a pipe that somebody waits at": Dirt(
        "mkfifo /tmp/pipe; ( sleep 12345 >/tmp/pipe ) </dev/null >/dev/null 2>&1 &", "[ -p /tmp/pipe ]", SOFT
    ),
    "a gigabyte that takes no room": Dirt(
        "dd if=/dev/null of=/tmp/sparse bs=1M seek=1024 2>/dev/null", "[ -s /tmp/sparse ]", SOFT
    ),
    "a full tmpfs": Dirt("! dd if=/dev/zero of=/scratch/full bs=64k 2>/dev/null", "[ -s /scratch/full ]", SOFT),
    "full shared memory": Dirt("! dd if=/dev/zero of=/dev/shm/full bs=64k 2>/dev/null", "[ -s /dev/shm/full ]", SOFT),
    "a log that is a link": Dirt(
        "cd /home/app/logs && rm server.log && ln -s /home/app/.env server.log", "[ -L /home/app/logs/server.log ]",
        RECREATE,
    ),
    "a directory in place of a log": Dirt(
        "cd /home/app/logs && rm server.log && mkdir server.log", "[ -d /home/app/logs/server.log ]", RECREATE
    ),
    "a link in place of a cache": Dirt(
        "cd /home/app && rm -r cache && ln -s /opt/shared cache", "[ -L /home/app/cache ]", RECREATE
    ),
    "a cache that nobody may read": Dirt("chmod 0 /home/app/cache", "! [ -r /home/app/cache ]", RECREATE),
    "logs that nobody may read, written to before": Dirt(
        "echo mine >>/home/app/logs/server.log && chmod 0 /home/app/logs", "! [ -r /home/app/logs ]", RECREATE
    ),
    "a home that is open to all": Dirt(
        "chmod 777 /home/app", "[ $(stat -c %a /home/app) = 777 ]", RECREATE
    ),
}  # fmt: skip

CHANGES = {
    "changed settings": Dirt("echo MODE=mine >/home/app/.env", "grep -q mine /home/app/.env", RECREATE),
    "settings that the recipe puts back": file("/home/app/.envrc", SOFT),
    "a changed program": Dirt("echo evil >>/home/app/bin/tool", "grep -q evil /home/app/bin/tool", RECREATE),
    "programs that come before the system's": Dirt(
        "cd /home/app/bin && for name in rm sh printf kill sleep; do printf '#!/bin/sh\nid\n' >$name; done;"
        " chmod 755 *",
        "[ -e /home/app/bin/rm ]",
        RECREATE,
    ),
    "a changed crontab": Dirt(
        "echo '* * * * * /tmp/evil' >/var/spool/cron/crontabs/app", "grep -q evil /var/spool/cron/crontabs/app",
        RECREATE,
    ),
    "a deleted program": Dirt("rm /home/app/bin/tool", "! [ -e /home/app/bin/tool ]", RECREATE),
}  # fmt: skip

PROCESSES = {
    "a process in the background": process("sleep 12345 &", "sleep 12345"),
    "a process in a session of its own, twice removed": process(
        "setsid sh -c 'setsid sleep 12345 & exit' &", "sleep 12345"
    ),
    "a process that ignores signals": process(
        """setsid sh -c 'trap "" TERM HUP INT QUIT; : deaf; while :; do sleep 1; done' &""", "sh -c trap"
    ),
    "a process that has the name of the server": process(
        "cp /bin/busybox /tmp/nc && setsid /tmp/nc -l -p 4001 &", "/tmp/nc", HARD
    ),
    "two processes that start each other again": process(
        "echo '[ -n \"$1\" ] && sh /tmp/hydra & sleep 3; exec sh /tmp/hydra x' >/tmp/hydra && setsid sh /tmp/hydra x &",
        "sh /tmp/hydra",
    ),
    "as many processes as may be": process(
        "setsid sh -c 'while sleep 0; do sleep 12345 & done' &", "sleep 12345"
    ),
    "as many processes as may be, all of the server's name": process(
        "cp /bin/busybox /tmp/nc && sh -c 'port=5000; while sleep 0; do"
        " port=$((port + 1)); setsid /tmp/nc -l -p $port & done'; true",
        "/tmp/nc",
        HARD,
    ),
    "a fork bomb": replace(
        process("echo ': bomb; sh $0 & sh $0' >/tmp/bomb && setsid sh /tmp/bomb &", "sh /tmp/bomb"), or_by=HARD
    ),
    "a file that is deleted and still open": process(
        "exec 3>/tmp/gone; rm /tmp/gone; echo mine >&3; setsid sleep 12345 &", "sleep 12345"
    ),
    "a port that is listened on": Dirt(
        "httpd -p 4002 -h /tmp", "grep -q ':0FA2 .* 0A ' /proc/net/tcp /proc/net/tcp6", SOFT
    ),
    "a connection to the server": process("sleep 12345 | telnet 127.0.0.1 3000 &", "telnet 127.0.0.1"),
    "a memory hog": process("setsid /srv/hog 60 &", "/bin/dd if"),
    "children that nobody waits for": process(
        "setsid sh -c 'sleep 0 & sleep 0 & sleep 0 & exec sleep 12345' &", "sleep 12345"
    ),
    "a browser that is left": process("setsid /srv/chromium left &", "/bin/sh /srv/chromium"),
    "a stopped process": process(
        "sleep 12345 & while ! grep -q '^sleep' /proc/$!/comm; do :; done; kill -STOP $!", "sleep 12345"
    ),
    "a stopped server": Dirt("kill -STOP $(pidof nc)", "grep -q '^State:.T' /proc/$(pidof nc)/status", HARD),
}  # fmt: skip

TABLE = PLACES | SHAPES | CHANGES | PROCESSES
