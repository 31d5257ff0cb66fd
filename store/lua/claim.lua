-- The best of what waits in the given queues, for one worker, under a new fence. Asked again with the same nonce, as
-- the first answer may have been lost on its way, it is the same claim.
local claimed = redis.call('GET', claim_key(args.nonce))
if claimed then
  claimed = cjson.decode(claimed)
  if not stale(claimed.id, claimed.fence) then
    extend(claimed.id)
    return reply({row = row(claimed.id, {})})
  end
end
bury_expired(16)
local best, score
for _, queue in ipairs(args.queues) do
  local first = redis.call('ZRANGE', queue_key(queue), 0, 0, 'WITHSCORES')
  if first[1] and (not score or tonumber(first[2]) < score) then best, score = first[1], tonumber(first[2]) end
end
if not best then return reply({}) end
redis.call('HINCRBY', record_key(best), 'attempts', 1)
local fence = whole(redis.call('INCR', NAMESPACE .. 'fence'))
set_all(best, {fence = fence, worker = args.worker, said = '0'})
redis.call('HSETNX', record_key(best), 'started_ms', whole(now_ms()))
if noun_of(best) == 'job' then
  transition(best, 'running', {worker = args.worker})
else
  redis.call('ZREM', queue_key('uploads'), best)
end
extend(best)
redis.call('SET', claim_key(args.nonce), cjson.encode({id = best, fence = fence}), 'PX', CONFIG.lease_ms)
return reply({row = row(best, {})})
