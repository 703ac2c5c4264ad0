"""The rules, one module for each part of a pool: what they look for, and what they then advise."""
