"""What several models have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pool.config.names import NAME_PATTERN

#: Why something is done; it is kept, and shown to people.
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
PoolName = Annotated[str, Field(pattern=NAME_PATTERN)]
#: A whole number, also where it is written as 3.0, which to JSON is the same.
Whole = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
#: Rises with every change of a container's state.
Revision = Annotated[int, Field(ge=0, lt=2**53), Whole]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2027-01-15T08:00:00.250Z"])]
PriorityName = Literal["critical", "high", "normal", "low"]
LevelName = Literal["soft", "medium", "hard", "recreate"]
