-- Texts of 20 words, no word of which was sent before. The first argument after "--" is how many texts a request has, the
-- second a number of bodies that are repeated.
local count = os.time() % 1000 * 100000
local pieces, repeated

function init(args)
  repeated = tonumber(args[2])
  local texts = {}
  for text = 1, tonumber(args[1]) do
    local words = {}
    for word = 1, 20 do words[word] = string.char(97 + (text + word) % 26) .. (text * 20 + word) .. "NNNNNNNN" end
    texts[text] = '"' .. table.concat(words, " ") .. '"'
  end
  local headers = {["content-type"] = "application/json", ["authorization"] = "Bearer sk-benchmark"}
  local whole = wrk.format("POST", "/v1/embeddings", headers,
    '{"model":"text-embedding-3-small","encoding_format":"base64","input":[' .. table.concat(texts, ",") .. ']}')
  pieces = {}
  for piece in (whole .. "NNNNNNNN"):gmatch("(.-)NNNNNNNN") do pieces[#pieces + 1] = piece end
end

function request()
  count = count + 1
  return table.concat(pieces, string.format("%08d", repeated and count % repeated or count))
end
