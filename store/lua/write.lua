-- The owner writes fields down, and says so in an event.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
set_all(args.id, args.fields)
if args.type then event(args.id, args.type, args.data) end
return reply({})
