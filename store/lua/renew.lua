-- The owner is alive: its lease runs anew.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
extend(args.id)
return reply({cancel_requested = get(args.id, 'cancel_requested') == '1'})
