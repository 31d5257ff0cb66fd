-- The owner is alive: its lease runs anew.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
local now = now_ms()
set(args.id, 'heartbeat_ms', whole(now))
redis.call('ZADD', LEASES, whole(now + CONFIG.lease_ms), args.id)
return reply({cancel_requested = get(args.id, 'cancel_requested') == '1'})
