-- The report of a job that succeeded.
if not exists(args.id) then return not_found(args.id) end
local report, state = redis.call('GET', report_key(args.id)), get(args.id, 'state')
if not report then
  return refuse('wrong_state', 'The job is ' .. state .. ': only one that succeeded has a report.', {id = args.id, state = state})
end
return reply({report = report})
