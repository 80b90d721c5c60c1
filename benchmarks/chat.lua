-- Every body is different. The first argument after "--" is "stream" for streams.
-- The request is put together once and only a number of fixed length is filled in, so that the load stays light.
local count = os.time() % 1000 * 100000
local before, after

function init(args)
  local extra = args[1] == "stream" and ',"stream":true' or ""
  local headers = {["content-type"] = "application/json", ["authorization"] = "Bearer sk-benchmark"}
  local whole = wrk.format("POST", "/v1/chat/completions", headers,
    '{"model":"gpt-4","messages":[{"role":"system","content":"You are a helpful assistant"},' ..
    '{"role":"user","content":"please test this with number NNNNNNNN"}],"temperature":0.7' .. extra .. '}')
  before, after = whole:match("(.*)NNNNNNNN(.*)")
end

function request()
  count = count + 1
  return before .. string.format("%08d", count) .. after
end
