-- The owner holds blobs for its record before it says that they are there.
local state = get(args.id, 'state')
local refusal = stale(args.id, args.fence)
if refusal and not (state and is_terminal(state) and get(args.id, 'fence') == args.fence) then return refusal end
hold(args.id, args.digests)
return reply({})
