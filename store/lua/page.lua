-- Records of a noun, newest first, behind `after`; one more than `limit` where there are more.
local from = args.after and '(' .. args.after or '+'
local ids = redis.call('ZREVRANGEBYLEX', index_key(args.noun, args.state), from, '-', 'LIMIT', 0, args.limit + 1)
local rows, served = {}, served_queues()
for _, id in ipairs(ids) do table.insert(rows, row(id, served)) end
return reply({rows = rows})
