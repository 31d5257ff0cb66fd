-- The owner writes fields down, and says so in an event; a write that was carried out already is not repeated.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
if args.number <= tonumber(get(args.id, 'said') or '0') then return reply({}) end
set(args.id, 'said', whole(args.number))
set_all(args.id, args.fields)
if args.type then event(args.id, args.type, args.data) end
return reply({})
