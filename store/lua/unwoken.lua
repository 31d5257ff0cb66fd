-- The best queued jobs of a queue that were called longest ago; from now on they count as called.
local now, ids = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGE', queue_key(args.queue), 0, args.limit - 1)) do
  if tonumber(get(id, 'woken_ms')) <= now - CONFIG.wake_after_ms then
    set(id, 'woken_ms', whole(now))
    table.insert(ids, id)
  end
end
return reply({ids = ids})
