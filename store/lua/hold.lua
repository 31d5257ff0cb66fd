-- Holds blobs for a record that is about to be made; `drop` or the making itself ends the wait.
hold(args.id, args.digests)
redis.call('ZADD', PENDING_HOLDS, whole(now_ms()), args.id)
return reply({})
