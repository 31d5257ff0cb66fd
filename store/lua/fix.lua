-- The owner writes a field that the first attempt decides for all: its value from now on.
local refusal = stale(args.id, args.fence)
if refusal then return refusal end
redis.call('HSETNX', record_key(args.id), args.field, args.value)
return reply({value = get(args.id, args.field)})
