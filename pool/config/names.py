"""How pools, containers and deployments may be named. Clients need no more of the configuration."""

from __future__ import annotations

NAME_PATTERN = r"^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$"
NAME_RULE = "use up to 64 of a-z, 0-9, -, _ and ., with a letter or digit at both ends"
