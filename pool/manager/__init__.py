"""The manager: owns the containers of its pools and runs the loops that keep them fit to be lent."""

from __future__ import annotations

from pool.manager.garbage import Garbage, Item
from pool.manager.pool_manager import Ending, PoolManager

__all__ = ["Ending", "Garbage", "Item", "PoolManager"]
