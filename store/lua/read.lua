-- One record.
if not exists(args.id) then return not_found(args.id) end
return reply({row = row(args.id, served_queues())})
