-- Jobs that wait for an inspection: all, or those that use one upload.
local ids = args.upload and redis.call('SINTER', PARKED, users_key(args.upload)) or redis.call('SMEMBERS', PARKED)
return reply({ids = ids})
