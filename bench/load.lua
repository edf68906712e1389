-- What wrk asks of the API, in one thread: WRK_CALL=validate takes the codes of the file WRK_CODES,
-- each once; WRK_CALL=request takes a new number each time from WRK_FIRST on, and WRK_CLIENTS clients
-- in turn.

local validates = os.getenv("WRK_CALL") == "validate"
local expected = validates and '"success"' or '"ACCEPTED"'
local first = tonumber(os.getenv("WRK_FIRST"))
local clients = tonumber(os.getenv("WRK_CLIENTS"))
local codes, asked = {}, 0
local watched

function setup(thread)
  watched = thread
end

function init()
  failed = 0
  if validates then
    for line in io.lines(os.getenv("WRK_CODES")) do
      codes[#codes + 1] = line
    end
  end
end

local function post(path, client, body)
  return wrk.format("POST", path, {
    ["Content-Type"] = "application/json",
    ["X-API-KEY"] = "2fa_bench-" .. client .. "_BenchOnlyBenchOnlyBenchOnlyBenchOnlyBench12",
  }, body)
end

function request()
  asked = asked + 1
  if validates then
    -- Where there are no more codes the calls fail, and wrk's run with them.
    local id, code = (codes[asked] or "no code"):match("(%S+) (%S+)")
    local body = string.format('{"code":"%s","request_id":"%s"}', code, id)
    return post("/api/v1.0/2fa/validate", 0, body)
  end
  local to = string.format("+%.0f", 447400000000 + first + asked)
  local body = string.format(
    '{"to":"%s","template_id":"6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01"}', to
  )
  return post("/api/v1.0/2fa/request", asked % clients, body)
end

function response(_, _, body)
  if not body:find(expected, 1, true) then
    failed = failed + 1
    if failed == 1 then
      io.stderr:write("unexpected: ", body, "\n")
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"calls": %d, "seconds": %.3f, "p50_ms": %.3f, "p99_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    watched:get("failed") + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
