-- Gives up the blobs that were held for a record that was not made.
if exists(args.id) then return reply({orphans = {}}) end
return reply({orphans = drop(args.id)})
