-- Every body is different. The first argument after "--" says what is asked for: a "stream", a "tool" that has to be
-- called, JSON by a "schema", or a "long" prompt of 200 characters; a plain reply without one. The second is the dialect
-- it is asked for in: "responses" or "messages", chat completions without one. The third is a number of bodies that are
-- repeated.
-- The request is put together once and only a number of fixed length is filled in, so that the load stays light.
local count = os.time() % 1000 * 100000
local before, after, repeated

local schema = '{"type":"object","properties":{"city":{"type":"string","description":"The city and state."},' ..
  '"unit":{"type":"string","enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},' ..
  '"required":["city","unit","days"],"additionalProperties":false}'
local extras = {
  stream = ',"stream":true',
  tool = ',"tool_choice":"required","tools":[{"type":"function","function":{"name":"get_weather","strict":true,' ..
    '"description":"Get the weather in a city.","parameters":' .. schema .. '}}]',
  schema = ',"response_format":{"type":"json_schema","json_schema":{"name":"report","strict":true,"schema":' ..
    schema .. '}}',
}

local instructions = "You are a helpful assistant"
local dialects = {
  [""] = { "/v1/chat/completions", '"messages":[{"role":"system","content":"' .. instructions ..
    '"},{"role":"user","content":"PROMPT"}]' },
  responses = { "/v1/responses", '"instructions":"' .. instructions .. '","input":"PROMPT"' },
  messages = { "/v1/messages", '"max_tokens":500,"system":"' .. instructions ..
    '","messages":[{"role":"user","content":"PROMPT"}]' },
}

function init(args)
  repeated = tonumber(args[3])
  local extra = extras[args[1]] or ""
  local more = args[1] == "long" and string.rep(" with some more words", 8) or ""
  local path, asked = unpack(dialects[args[2] or ""])
  asked = asked:gsub("PROMPT", "please test this with number NNNNNNNN" .. more)
  local headers = {["content-type"] = "application/json", ["authorization"] = "Bearer sk-benchmark"}
  local whole = wrk.format("POST", path, headers, '{"model":"gpt-4",' .. asked .. ',"temperature":0.7' .. extra .. '}')
  before, after = whole:match("(.*)NNNNNNNN(.*)")
end

function request()
  count = count + 1
  return before .. string.format("%08d", repeated and count % repeated or count) .. after
end
