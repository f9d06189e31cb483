"""The rules: buffers, pools, retry, breaker, deduplication, admission. Talks only to ports."""
