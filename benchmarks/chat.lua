-- Every body is different. The first argument after "--" is "stream" for streams.
local count = math.floor(os.time() % 100000) * 1000000
local extra = ""

function init(args)
  if args[1] == "stream" then extra = ',"stream":true' end
end

local headers = {["content-type"] = "application/json", ["authorization"] = "Bearer sk-benchmark"}

function request()
  count = count + 1
  return wrk.format("POST", "/v1/chat/completions", headers,
    '{"model":"gpt-4","messages":[{"role":"system","content":"You are a helpful assistant"},' ..
    '{"role":"user","content":"please test this with number ' .. count .. '"}],"temperature":0.7' .. extra .. '}')
end
