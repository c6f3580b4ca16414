-- wrk script: one plain chat completion after the other; prints one line of JSON at the end.
-- KEY and MODEL come from the environment.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "")
wrk.body = string.format(
  '{"model":"%s","messages":[{"role":"system","content":"You are a helpful assistant."},'
    .. '{"role":"user","content":"Please tell the benchmark how it is doing."}]}',
  os.getenv("MODEL") or "bench/model"
)

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'JSON{"requests":%d,"per_s":%.1f,"failed":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.requests * 1e6 / summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000
  ))
end
