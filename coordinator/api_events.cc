// What happens: server-sent events while it does, and the journal of what has.
#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/event_hub.h"
#include "coordinator/paging.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using cluster::HttpStream;
using nlohmann::json;

// Between comments on a quiet stream, so that proxies keep it open.
constexpr std::chrono::milliseconds kKeepAlive{15000};

HttpResponse event_stream() {
  HttpResponse response;
  response.content_type = "text/event-stream";
  return response;
}

void keep_alive(const std::shared_ptr<HttpStream>& stream) {
  stream->repeat(kKeepAlive, [stream] { return stream->write(": quiet\n\n"); });
}

// Where a client that gives Last-Event-ID goes on; without, at what comes next. A client that cannot go on is told so
// by an event "gap": it reads anew what it needs.
struct Start {
  uint64_t sequence = 0;
  bool gap = false;
};
Start start_of(const EventHub& events, const ApiRequest& request) {
  const std::string id = request.header("last-event-id");
  if (id.empty()) return {events.last()};
  const std::optional<uint64_t> position = events.position(id);
  return position ? Start{*position} : Start{events.last(), true};
}
constexpr const char* kGap = "event: gap\ndata: {\"kind\":\"gap\"}\n\n";

// The job as it is, then what happens to it, until it has ended.
HttpResponse job_events(const ApiContext& context, const ApiRequest& request) {
  const std::string id = request.path.at("job");
  if (const Result<JobView> view = context.coordinator.get(id); !view.ok()) return error_reply(view.status());
  HttpResponse response = event_stream();
  response.stream = [context, id,
                     start = start_of(*context.events, request)](const std::shared_ptr<HttpStream>& stream) {
    // The place in the stream comes before the look at the job: an event between them is told twice, never not at all.
    const Result<JobView> now = context.coordinator.get(id);
    if (!now.ok()) return stream->close();
    if (start.gap) stream->write(kGap);
    stream->write("event: job\ndata: " + to_json(*now, false) + "\n\n");
    const bool ended = is_final(now->state.phase);
    context.events->attach(stream, id, start.sequence, true);
    if (ended) return stream->close();
    keep_alive(stream);
  };
  return response;
}

HttpResponse all_events(const ApiContext& context, const ApiRequest& request) {
  HttpResponse response = event_stream();
  response.stream = [context, start = start_of(*context.events, request)](const std::shared_ptr<HttpStream>& stream) {
    stream->write(start.gap ? kGap : ": hello\n\n");
    context.events->attach(stream, "", start.sequence, false);
    keep_alive(stream);
  };
  return response;
}

HttpResponse history(const ApiContext& context, const ApiRequest& request) {
  const std::string& id = request.path.at("job");
  const Result<uint64_t> after = parse_number_cursor(request.text("cursor"));
  if (!after.ok()) return error_reply(after.status());
  const auto limit = static_cast<size_t>(request.number("limit", kPageDefault));
  const Result<std::vector<JournaledEvent>> found = context.coordinator.history(id, *after, limit + 1);
  if (!found.ok()) return error_reply(found.status());
  json rows = json::array();
  for (const JournaledEvent& event : *found) {
    if (rows.size() == limit) break;
    rows.push_back({{"number", event.number},
                    {"unix_ms", event.unix_ms},
                    {"name", event.name},
                    {"text", event.text},
                    {"attempt", event.attempt},
                    {"phase", phase_name(event.phase_after)},
                    {"ranks", event.world_after}});
  }
  const uint64_t next = found->size() > limit ? (*found)[limit - 1].number : 0;
  return json_reply({{"events", rows}, {"next", number_cursor(next)}});
}

}  // namespace

std::vector<ApiRoute> event_routes(const ApiContext& context) {
  const ApiParameter job = path_parameter("job", "a job's id");
  const ApiParameter last =
      header_parameter("last-event-id", "id of the last event that was received: what came since is sent first");
  return {
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/events",
       .id = "watchJob",
       .about = "Server-sent events: the job as it is (event `job`), then what happens, until it has ended",
       .parameters = {job, last},
       .content_type = "text/event-stream",
       .handle = [context](const ApiRequest& request) { return job_events(context, request); }},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/history",
       .id = "jobHistory",
       .about = "The job's journaled events, oldest first, a page at a time",
       .parameters = {job, number_parameter("limit", "events in a page (default 100)", 1, kPageMax),
                      text_parameter("cursor", "`next` of the page before")},
       .schema = "History",
       .handle = [context](const ApiRequest& request) { return history(context, request); }},
      {.method = "GET",
       .path = "/api/v1/events",
       .id = "watchAll",
       .about = "Server-sent events of all jobs, without end",
       .parameters = {last},
       .content_type = "text/event-stream",
       .handle = [context](const ApiRequest& request) { return all_events(context, request); }},
  };
}

}  // namespace tephra::coordinator
