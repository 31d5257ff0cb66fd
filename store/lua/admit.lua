-- A parked job has been judged: into its queue, or failed with the reason.
if redis.call('SISMEMBER', PARKED, args.id) == 0 then return reply({admitted = false}) end
if args.failure then
  fail(args.id, args.failure)
  return reply({admitted = false})
end
redis.call('SREM', PARKED, args.id)
redis.call('HDEL', record_key(args.id), 'waiting_for')
set(args.id, 'woken_ms', whole(now_ms()))
enqueue(args.id)
return reply({admitted = true})
