-- Attempts whose lease has run out.
return reply({buried = bury_expired(args.limit)})
