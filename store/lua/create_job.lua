-- A new job: queued, or parked until its uploads are inspected. `seen` is what the caller judged it by.
local before = earlier(args.key, args.fingerprint)
if before then return before end
if exists(args.id) then return reply({id = args.id}) end
local parked = false
for upload, state in pairs(args.seen) do
  if get(upload, 'state') ~= state then return reply({changed = true}) end
  parked = parked or state == 'inspecting'
end
create(args.id, 'queued', args.queue, args.priority, args.fields)
set(args.id, 'woken_ms', whole(now_ms()))
for upload in pairs(args.seen) do redis.call('SADD', users_key(upload), args.id) end
if parked then
  set(args.id, 'waiting_for', 'inspection')
  redis.call('SADD', PARKED, args.id)
else
  enqueue(args.id)
end
remember(args.key, args.fingerprint, args.id)
event(args.id, 'state', cjson.encode({state = 'queued'}))
return reply({id = args.id, parked = parked})
