-- Ids for which blobs have been held since before `older_ms` ago.
return reply({ids = redis.call('ZRANGEBYSCORE', PENDING_HOLDS, '-inf', whole(now_ms() - args.older_ms), 'LIMIT', 0, 100)})
