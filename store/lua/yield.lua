-- The owner gives its job or inspection back: `burned` says whether the attempt counts. Says whether it waits again.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
if args.burned then
  bury(args.id, args.reason)
elseif get(args.id, 'cancel_requested') == '1' then
  transition(args.id, 'cancelled', {reason = args.reason})
else
  if noun_of(args.id) == 'job' then
    transition(args.id, 'queued', {reason = args.reason, worker = get(args.id, 'worker')})
  else
    wait_again(args.id)
  end
  redis.call('HINCRBY', record_key(args.id), 'attempts', -1)
end
return reply({waits = waits(args.id)})
