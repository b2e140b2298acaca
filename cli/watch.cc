#include "cli/watch.h"

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/app.h"
#include "cli/http_client.h"
#include "cli/interrupt.h"
#include "cli/live_view.h"
#include "cli/render.h"
#include "cli/text.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

// Server-sent events: fields of an event come line by line, an empty line ends it; only `data` is of interest here.
class EventStream {
 public:
  explicit EventStream(std::function<void(const std::string& data)> on_data) : on_data_(std::move(on_data)) {}
  void feed(const std::string& bytes) {
    buffer_ += bytes;
    for (size_t end; (end = buffer_.find('\n')) != std::string::npos; buffer_.erase(0, end + 1))
      if (buffer_.starts_with("data: ")) on_data_(buffer_.substr(6, end - 6));
  }

 private:
  std::function<void(const std::string&)> on_data_;
  std::string buffer_;
};

int watch_ended(const std::string& job, const Result<int>& status, const std::string& phase, EventRenderer* out) {
  if (interrupted()) {
    out->line("job " + job + " goes on; watch it again with the same command");
    return kInterrupted;
  }
  if (!status.ok()) return fail(status.status());
  if (*status != 200)
    return fail({Code::kUnavailable, "the server answered " + std::to_string(*status) + "; watch the job again"});
  std::printf("%s", out->summary().c_str());
  out->line("job " + job + ": " + phase);
  return is_final_phase(phase) ? job_exit_code(phase) : kEnvironment;
}

// Every event of the job, as text and as JSON, until the stream ends or Ctrl-C; the answer's HTTP status.
Result<int> follow(const Server& server, const std::string& job,
                   const std::function<void(const std::string& data, const json& event)>& on_event) {
  EventStream events([&](const std::string& data) {
    const json e = json::parse(data, nullptr, false);
    if (e.is_object()) on_event(data, e);
  });
  return http_stream(server, "/api/v1/jobs/" + job + "/events", [&](const std::string& bytes) {
    events.feed(bytes);
    return !interrupted();
  });
}

bool unicode_terminal() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (const char* value = std::getenv(name); value != nullptr && *value != 0)
      return std::string(value).find("UTF-8") != std::string::npos ||
             std::string(value).find("utf8") != std::string::npos;
  return false;
}

// The events draw as they come; a thread of its own asks for the ranks once a second, so that a silence is seen to grow.
int watch_live(const Server& server, const std::string& job) {
  std::mutex mutex;
  LiveView view(unicode_terminal());
  LiveScreen screen;
  EventRenderer results(OutputMode::kLines);
  std::string phase;
  std::condition_variable changed;
  bool over = false;
  const auto draw = [&] { screen.draw(view.lines(terminal_width() - 1)); };
  std::thread asking([&] {
    std::unique_lock lock(mutex);
    while (!over) {
      lock.unlock();
      const auto body = checked(http_request(server, "GET", "/api/v1/jobs/" + job));
      lock.lock();
      if (body.ok() && !over) {
        view.job(json::parse(*body, nullptr, false));
        draw();
      }
      changed.wait_for(lock, std::chrono::seconds(1), [&] { return over; });
    }
  });
  const auto status = follow(server, job, [&](const std::string& data, const json& e) {
    std::lock_guard lock(mutex);
    phase = e.value("phase", phase);
    results.take(data);
    if (view.event(e)) screen.line_above("  " + e.value("message", ""));
    draw();
  });
  const auto last = checked(http_request(server, "GET", "/api/v1/jobs/" + job));
  {
    std::lock_guard lock(mutex);
    over = true;
    if (last.ok()) {  // as it ended; the newest answer may be from before
      view.job(json::parse(*last, nullptr, false));
      draw();
    }
    screen.leave();
  }
  changed.notify_all();
  asking.join();
  return watch_ended(job, status, phase, &results);
}

int watch_lines(const Server& server, const std::string& job, OutputMode mode) {
  EventRenderer out(mode);
  std::string phase;
  const auto status = follow(server, job, [&](const std::string& data, const json& e) {
    phase = e.value("phase", phase);
    out.event(data);
  });
  return watch_ended(job, status, phase, &out);
}

}  // namespace

int job_exit_code(const std::string& phase) { return phase == "failed" || phase == "cancelled" ? kFailed : kOk; }

int watch_job(const Server& server, const std::string& job, bool json) {
  // An answer that is an error has its sentence here, and none in a stream.
  if (const auto known = checked(http_request(server, "GET", "/api/v1/jobs/" + job)); !known.ok())
    return fail(known.status());
  catch_interrupts();
  const OutputMode mode = output_mode(json);
  return mode == OutputMode::kTerminal ? watch_live(server, job) : watch_lines(server, job, mode);
}

}  // namespace tephra::cli
