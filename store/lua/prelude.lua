-- In front of every script: names of keys, the clock, and the only function that changes a state.
-- A script checks everything before its first write: Redis does not take back the writes of a script that fails.
local NAMESPACE = ARGV[1] .. ':'
local args = cjson.decode(ARGV[2])
local SCHEMA_VERSION = '1'
local PENDING_HOLDS = NAMESPACE .. 'holds:pending'
local LEASES = NAMESPACE .. 'leases'
local PARKED = NAMESPACE .. 'parked'
local WORKERS = NAMESPACE .. 'workers'

local function record_key(id) return NAMESPACE .. 'record:' .. id end
local function events_key(id) return NAMESPACE .. 'events:' .. id end
local function report_key(id) return NAMESPACE .. 'report:' .. id end
local function index_key(noun, state) return NAMESPACE .. 'index:' .. noun .. (state and ':' .. state or '') end
local function queue_key(name) return NAMESPACE .. 'queue:' .. name end
local function users_key(upload) return NAMESPACE .. 'users:' .. upload end
local function blob_key(sha256) return NAMESPACE .. 'blob:' .. sha256 end
local function held_key(id) return NAMESPACE .. 'held:' .. id end
local function idempotency_key(key) return NAMESPACE .. 'idempotency:' .. key end
local function worker_key(id) return NAMESPACE .. 'worker:' .. id end
local function claim_key(nonce) return NAMESPACE .. 'claim:' .. nonce end

local function whole(number) return string.format('%.0f', number) end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function reply(object)
  object.done = true
  return cjson.encode(object)
end

local function refuse(code, message, context)
  return cjson.encode({refused = code, message = message, context = context})
end

local function get(id, field) return redis.call('HGET', record_key(id), field) end
local function set(id, field, value) redis.call('HSET', record_key(id), field, value) end
local function exists(id) return redis.call('EXISTS', record_key(id)) == 1 end
local function noun_of(id) return string.sub(id, 1, 3) end
local function not_found(id) return refuse('not_found', 'There is nothing with the id ' .. id .. '.', {id = id}) end
local function is_terminal(state) return next(CONFIG.transitions[state]) == nil end

local function set_all(id, fields)
  for field, value in pairs(fields or {}) do set(id, field, value) end
end

local function event(id, type, data)
  redis.call('XADD', events_key(id), 'MAXLEN', '~', CONFIG.events_kept, '*',
    'type', type, 'attempt', get(id, 'attempts') or '0', 'data', data)
end

local function hold(id, digests)
  for _, sha256 in ipairs(digests or {}) do
    redis.call('SADD', blob_key(sha256), id)
    redis.call('SADD', held_key(id), sha256)
  end
end

-- Gives up everything that the record holds; the blobs that nobody holds any more.
local function drop(id)
  local orphans = {}
  for _, sha256 in ipairs(redis.call('SMEMBERS', held_key(id))) do
    redis.call('SREM', blob_key(sha256), id)
    if redis.call('EXISTS', blob_key(sha256)) == 0 then table.insert(orphans, sha256) end
  end
  redis.call('DEL', held_key(id))
  redis.call('ZREM', PENDING_HOLDS, id)
  return orphans
end

local function enqueue(id)
  redis.call('ZADD', queue_key(get(id, 'queue')), get(id, 'score'), id)
end

local function end_lease(id)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', record_key(id), 'worker')
end

-- Back to those that wait; that nobody was called for it yet is what lets the reaper call at once.
local function wait_again(id)
  end_lease(id)
  enqueue(id)
  if noun_of(id) == 'job' then set(id, 'woken_ms', '0') end
end

local function waits(id) return redis.call('ZSCORE', queue_key(get(id, 'queue')), id) and true end

-- What every end of a job or an inspection has in common.
local function settle(id)
  end_lease(id)
  redis.call('SREM', PARKED, id)
  redis.call('HDEL', record_key(id), 'waiting_for')
  set(id, 'finished_ms', whole(now_ms()))
  if noun_of(id) == 'job' then
    for _, upload in ipairs(cjson.decode(get(id, 'uploads'))) do redis.call('SREM', users_key(upload), id) end
  end
end

-- The one place where a state changes: table, indexes, queue, lease and the event go together.
-- `data` is what else the event says: a table, or a JSON object as text (cjson would make {} of an empty list).
local function transition(id, to, data)
  local from = get(id, 'state')
  if not CONFIG.transitions[from][to] then error('no way from ' .. from .. ' to ' .. to) end
  set(id, 'state', to)
  redis.call('ZREM', index_key(noun_of(id), from), id)
  redis.call('ZADD', index_key(noun_of(id), to), 0, id)
  redis.call('ZREM', queue_key(get(id, 'queue')), id)
  if is_terminal(to) then settle(id) end
  if to == 'queued' then wait_again(id) end
  if noun_of(id) == 'job' then
    local said = type(data) == 'string' and data or cjson.encode(data or {})
    event(id, 'state', '{"state":"' .. to .. '"' .. (said == '{}' and '}' or ',' .. string.sub(said, 2)))
  end
end

-- Ends a job or an upload for good, with the reason as JSON.
local function fail(id, failure)
  set(id, 'error', failure)
  transition(id, noun_of(id) == 'job' and 'failed' or 'rejected', '{"error":' .. failure .. '}')
end

local function lost_for_good(id, reason)
  return cjson.encode({code = 'worker_lost', message = 'None of ' .. get(id, 'attempts') ..
    ' attempts came to an end; the last one was given up because ' .. reason .. '.'})
end

-- An attempt is dead: the next one may come, unless it was the last, or nobody wants it any more.
local function bury(id, reason)
  local worker = get(id, 'worker') or nil
  if get(id, 'cancel_requested') == '1' then
    transition(id, 'cancelled', {reason = reason})
  elseif tonumber(get(id, 'attempts')) >= CONFIG.max_attempts then
    fail(id, lost_for_good(id, reason))
  elseif noun_of(id) == 'job' then
    transition(id, 'queued', {reason = reason, worker = worker})
  else
    wait_again(id)
  end
end

-- Buries attempts whose lease has run out, some at a time; the records that were touched.
local function bury_expired(limit)
  local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', whole(now_ms()), 'LIMIT', 0, limit)
  for _, id in ipairs(expired) do bury(id, 'its lease ran out: its worker died, hung, or could not reach the record') end
  return expired
end

-- The owner's writes: nil when the fence is the owner's and its lease still runs, else the refusal.
local function stale(id, fence)
  local lease_until = redis.call('ZSCORE', LEASES, id)
  if lease_until and tonumber(lease_until) > now_ms() and get(id, 'fence') == fence then return nil end
  return refuse('fence_lost', nil, {id = id, fence = tonumber(fence)})
end

-- The lease runs anew.
local function extend(id)
  local now = now_ms()
  set(id, 'heartbeat_ms', whole(now))
  redis.call('ZADD', LEASES, whole(now + CONFIG.lease_ms), id)
end

local function earlier(key, fingerprint)
  local kept = key and redis.call('GET', idempotency_key(key))
  if not kept then return nil end
  kept = cjson.decode(kept)
  if not exists(kept.id) then return nil end
  if kept.fingerprint ~= fingerprint then return refuse('idempotency_mismatch') end
  return reply({id = kept.id, replay = true})
end

local function remember(key, fingerprint, id)
  if key then
    redis.call('SET', idempotency_key(key), cjson.encode({id = id, fingerprint = fingerprint}), 'PX', CONFIG.idempotency_ms)
  end
end

-- Makes a record in its first state; `fields` are all strings.
local function create(id, state, queue, priority, fields)
  local place = redis.call('INCR', NAMESPACE .. 'sequence')
  set_all(id, fields)
  set_all(id, {
    schema_version = SCHEMA_VERSION, state = state, queue = queue, attempts = '0',
    score = whole(place - priority * 1099511627776), created_ms = whole(now_ms())})
  redis.call('ZADD', index_key(noun_of(id)), 0, id)
  redis.call('ZADD', index_key(noun_of(id), state), 0, id)
end

-- Ahead of a job are those with a better score that the same workers may take first.
local RIVALS = {cpu = {'cpu', 'any'}, cuda = {'cuda', 'any'}, any = {'cpu', 'cuda', 'any'}}

local function position(id)
  local score, ahead = get(id, 'score'), 0
  for _, queue in ipairs(RIVALS[get(id, 'queue')] or {}) do
    ahead = ahead + redis.call('ZCOUNT', queue_key(queue), '-inf', '(' .. score)
  end
  return ahead
end

local function served_queues()
  local served = {}
  for _, id in ipairs(redis.call('SMEMBERS', WORKERS)) do
    local worker = redis.call('GET', worker_key(id))
    if worker then
      for _, queue in ipairs(cjson.decode(worker).queues) do served[queue] = true end
    end
  end
  return served
end

-- A record as it is shown: its fields, and for a queued job its place and what it waits for.
local function row(id, served)
  local fields, flat = {id = id}, redis.call('HGETALL', record_key(id))
  for at = 1, #flat, 2 do fields[flat[at]] = flat[at + 1] end
  if fields.state == 'queued' and not fields.waiting_for then
    fields.queue_position = whole(position(id))
    if not served[fields.queue] then
      fields.waiting_for = fields.queue == 'any' and 'a worker' or 'a ' .. fields.queue .. ' worker'
    end
  end
  return fields
end
