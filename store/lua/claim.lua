-- The best of what waits in the given queues, for one worker, under a new fence.
bury_expired(16)
local best, score
for _, queue in ipairs(args.queues) do
  local first = redis.call('ZRANGE', queue_key(queue), 0, 0, 'WITHSCORES')
  if first[1] and (not score or tonumber(first[2]) < score) then best, score = first[1], tonumber(first[2]) end
end
if not best then return reply({}) end
local now = now_ms()
redis.call('HINCRBY', record_key(best), 'attempts', 1)
set_all(best, {
  fence = whole(redis.call('INCR', NAMESPACE .. 'fence')), worker = args.worker, heartbeat_ms = whole(now)})
redis.call('HSETNX', record_key(best), 'started_ms', whole(now))
if noun_of(best) == 'job' then
  transition(best, 'running', {worker = args.worker})
else
  redis.call('ZREM', queue_key('uploads'), best)
end
redis.call('ZADD', LEASES, whole(now + CONFIG.lease_ms), best)
return reply({row = row(best, {})})
