-- A new model or data set, waiting for its inspection.
local before = earlier(args.key, args.fingerprint)
if before then return before end
if not exists(args.id) then
  create(args.id, 'inspecting', 'uploads', 0, args.fields)
  hold(args.id, {args.fields.sha256})
  redis.call('ZREM', PENDING_HOLDS, args.id)
  enqueue(args.id)
  remember(args.key, args.fingerprint, args.id)
end
return reply({id = args.id})
