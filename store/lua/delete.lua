-- Takes a record away with all that belongs to it; the blobs that nobody holds any more.
if not exists(args.id) then return not_found(args.id) end
local noun, state = noun_of(args.id), get(args.id, 'state')
if noun == 'job' and not is_terminal(state) then
  return refuse('wrong_state', 'The job is ' .. state .. ': cancel it, or wait for its end.', {id = args.id, state = state})
end
local users = redis.call('SMEMBERS', users_key(args.id))
if #users > 0 then
  table.sort(users)
  return refuse('in_use', 'A job that has not ended uses this: ' .. users[1] .. '.', {id = args.id, jobs = users})
end
redis.call('ZREM', index_key(noun), args.id)
redis.call('ZREM', index_key(noun, state), args.id)
redis.call('ZREM', queue_key(get(args.id, 'queue')), args.id)
redis.call('ZREM', LEASES, args.id)
redis.call('DEL', record_key(args.id), events_key(args.id), report_key(args.id))
return reply({orphans = drop(args.id)})
