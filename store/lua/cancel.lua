-- A queued job is cancelled at once; a running one is asked to stop.
if not exists(args.id) then return not_found(args.id) end
local state = get(args.id, 'state')
if is_terminal(state) then
  return refuse('wrong_state', 'The job has ended already: it is ' .. state .. '.', {id = args.id, state = state})
end
if state == 'queued' then
  transition(args.id, 'cancelled')
elseif get(args.id, 'cancel_requested') ~= '1' then
  set(args.id, 'cancel_requested', '1')
  event(args.id, 'note', cjson.encode({message = 'cancellation was asked for'}))
end
return reply({})
