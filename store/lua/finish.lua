-- The owner ends its job or inspection: state, result and pointers to the blobs (held already) in one step.
local state = get(args.id, 'state')
if state == args.state and get(args.id, 'fence') == args.fence then return reply({}) end
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
if args.state == 'cancelled' and get(args.id, 'cancel_requested') ~= '1' then
  return refuse('wrong_state', 'Nobody asked for the cancellation of this job.', {id = args.id})
end
set_all(args.id, args.fields)
if args.report then redis.call('SET', report_key(args.id), args.report) end
if args.failure then
  fail(args.id, args.failure)
else
  transition(args.id, args.state)
end
return reply({})
