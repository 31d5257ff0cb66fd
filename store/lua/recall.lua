-- What an Idempotency-Key made before, if anything.
return earlier(args.key, args.fingerprint) or reply({})
