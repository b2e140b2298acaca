// Jobs: listing, submitting, cancelling, pausing.
#include <algorithm>

#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/crypto.h"
#include "coordinator/data_roots.h"
#include "coordinator/json_depth.h"
#include "coordinator/paging.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using nlohmann::json;

constexpr size_t kUserBytes = 256, kReasonBytes = 1024, kKeyBytes = 128;

// "training,queued" as phases; a name that is none gives the error.
Result<std::vector<Phase>> parse_phases(const std::string& text) {
  std::vector<Phase> phases;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    TEPHRA_ASSIGN_OR_RETURN(const Phase phase, parse_phase(name));
    phases.push_back(phase);
    begin = end + 1;
  }
  return phases;
}

HttpResponse list(Coordinator& coordinator, const ApiRequest& request) {
  JobQuery query;
  Result<std::vector<Phase>> phases = parse_phases(request.text("phase"));
  if (!phases.ok()) return error_reply(phases.status());
  query.phases = std::move(phases).value();
  query.user = request.text("user");
  query.recipe = request.text("recipe");
  query.text = request.text("text");
  query.newest_first = request.text("order") == "newest";
  query.limit = static_cast<size_t>(request.number("limit", kPageDefault));
  const Result<uint64_t> after = parse_number_cursor(request.text("cursor"));
  if (!after.ok()) return error_reply(after.status());
  query.after = *after;
  Result<JobPage> page = coordinator.page(query);
  if (!page.ok()) return error_reply(page.status());
  // As text: to_json's documents need not be taken apart to be put into a list.
  std::string body = R"({"jobs":[)";
  for (JobView& view : page->jobs) {
    view.ranks.clear();  // a thousand of a large gang: of one job only
    body += (body.back() == '[' ? "" : ",") + to_json(view, false);
  }
  return text_reply(body + R"(],"slots":)" + std::to_string(coordinator.slots()) + R"(,"next":)" +
                    number_cursor(page->next).dump() + "}");
}

// A JSON object, or what is wrong with the body. An empty one is an empty object.
struct Body {
  json document = json::object();
  std::optional<HttpResponse> wrong{};
};
Body parse_body(const ApiRequest& request) {
  Body body;
  if (request.http.body.empty()) return body;
  if (json_depth(request.http.body) > kJsonDepthMax) {
    body.wrong = error_reply(400, "bad_json", "the body is nested deeper than " + std::to_string(kJsonDepthMax));
    return body;
  }
  body.document = json::parse(request.http.body, nullptr, false);
  if (!body.document.is_object()) body.wrong = error_reply(400, "bad_json", "the body is not a JSON object");
  return body;
}

// A text field of at most `bytes`; absent: empty.
Result<std::string> text_field(const json& body, const char* key, size_t bytes) {
  if (!body.contains(key)) return std::string();
  if (!body[key].is_string()) return Status(Code::kInvalidArgument, std::string(key) + " is not a text");
  std::string text = body[key].get<std::string>();
  if (text.size() > bytes)
    return Status(Code::kInvalidArgument, std::string(key) + " is longer than " + std::to_string(bytes) + " bytes");
  return text;
}

// recipes::to_json of the recipe in the body. Diagnostics in `found`.
Result<std::string> recipe_of(const json& body, std::vector<Diagnostic>* found) {
  if (body.contains("recipe_json")) {
    const json& given = body["recipe_json"];
    std::string text = given.is_string() ? given.get<std::string>() : dump(given);
    if (json_depth(text) > kJsonDepthMax)
      return Status(Code::kInvalidArgument, "recipe_json is nested deeper than " + std::to_string(kJsonDepthMax));
    return text;
  }
  TEPHRA_ASSIGN_OR_RETURN(const std::string yaml, text_field(body, "recipe_yaml", size_t{1} << 20));
  TEPHRA_ASSIGN_OR_RETURN(const std::string folder, text_field(body, "base_dir", 4096));
  if (yaml.empty()) return Status(Code::kInvalidArgument, "give recipe_json, or recipe_yaml and base_dir");
  if (folder.empty() || folder[0] != '/')
    return Status(Code::kInvalidArgument,
                  "base_dir: give the absolute folder that relative paths of recipe_yaml are joined to");
  const recipes::LoadResult loaded = recipes::parse_recipe(yaml, folder + "/recipe.yaml");
  if (!loaded.ok()) {
    *found = loaded.diagnostics;
    return Status(Code::kInvalidArgument, "the recipe does not hold");
  }
  return recipes::to_json(loaded.recipe);
}

// What the recipe names lies where it may; of a recipe that does not hold, submit() says so.
Status check_files(Coordinator& coordinator, const ApiRequest& request, const std::string& recipe_json) {
  const std::vector<std::string>& roots = coordinator.options().data_roots;
  if (roots.empty() || request.who.role == Role::kAdmin) return ok_status();
  const Result<recipes::Recipe> recipe = recipes::from_json(recipe_json);
  return recipe.ok() ? check_data_roots(recipes::to_json(*recipe), roots) : ok_status();
}

HttpResponse submit(Coordinator& coordinator, const ApiRequest& request) {
  const Body body = parse_body(request);
  if (body.wrong) return *body.wrong;
  Result<std::string> user = text_field(body.document, "user", kUserBytes);
  if (!user.ok()) return error_reply(user.status());
  if (request.who.role != Role::kAdmin) *user = request.who.name;
  SubmitOnce once;
  once.key = request.header("idempotency-key");
  if (once.key.size() > kKeyBytes)
    return error_reply(422, "invalid_argument",
                       "Idempotency-Key is longer than " + std::to_string(kKeyBytes) + " bytes");
  if (!once.key.empty()) {
    // Two users' equal keys are different keys.
    once.key = sha256_hex(request.who.name + "\n" + once.key);
    once.request_hash = sha256_hex(request.http.body);
  }
  std::vector<Diagnostic> found;
  const Result<std::string> recipe_json = recipe_of(body.document, &found);
  if (!found.empty()) return error_reply(found);
  if (!recipe_json.ok()) return error_reply(recipe_json.status());
  if (const Status allowed = check_files(coordinator, request, *recipe_json); !allowed.ok())
    return error_reply(allowed);
  const Result<std::string> id = coordinator.submit(*recipe_json, *user, once);
  return id.ok() ? json_reply({{"id", *id}}, 201) : error_reply(id.status());
}

HttpResponse show(Coordinator& coordinator, const ApiRequest& request) {
  const Result<JobView> view = coordinator.get(request.path.at("job"));
  return view.ok() ? text_reply(to_json(*view, true)) : error_reply(view.status());
}

HttpResponse cancel(Coordinator& coordinator, const ApiRequest& request) {
  const Body body = parse_body(request);
  if (body.wrong) return *body.wrong;
  Result<std::string> reason = text_field(body.document, "reason", kReasonBytes);
  if (!reason.ok()) return error_reply(reason.status());
  const std::string& id = request.path.at("job");
  const Result<JobView> view = coordinator.get(id);
  if (!view.ok()) return error_reply(view.status());
  if (auto refused = refuse_others(request, *view)) return *refused;
  const Status status = coordinator.cancel(id, reason->empty() ? "at the request of " + request.who.name : *reason);
  return status.ok() ? json_reply({{"id", id}, {"cancel_requested", true}}, 202) : error_reply(status);
}

// Pausing and resuming differ in what is asked of the coordinator only.
HttpResponse ask(Coordinator& coordinator, const ApiRequest& request, const char* answer,
                 Status (Coordinator::*change)(const std::string&)) {
  const std::string& id = request.path.at("job");
  const Result<JobView> view = coordinator.get(id);
  if (!view.ok()) return error_reply(view.status());
  if (auto refused = refuse_others(request, *view)) return *refused;
  const Status status = (coordinator.*change)(id);
  return status.ok() ? json_reply({{"id", id}, {answer, true}}, 202) : error_reply(status);
}

}  // namespace

std::optional<HttpResponse> refuse_others(const ApiRequest& request, const JobView& view) {
  if (request.who.role == Role::kAdmin || view.state.user == request.who.name) return std::nullopt;
  return error_reply(403, "forbidden",
                     "job " + view.state.id + " is of user '" + view.state.user +
                         "'; only that user's tokens and an admin's may change it");
}

std::vector<ApiRoute> job_routes(const ApiContext& context) {
  Coordinator& c = context.coordinator;
  const ApiParameter job = path_parameter("job", "a job's id");
  return {
      {.method = "GET",
       .path = "/api/v1/jobs",
       .id = "listJobs",
       .about = "Jobs in order of submission, a page at a time",
       .parameters = {text_parameter("phase", "only jobs in these phases, separated by commas"),
                      text_parameter("user", "only this user's"), text_parameter("recipe", "only of this recipe name"),
                      text_parameter("text", "only with this in the job's id, user or recipe name"),
                      choice_parameter("order", "which come first (default oldest)", {"oldest", "newest"}),
                      number_parameter("limit", "jobs in a page (default 100)", 1, kPageMax),
                      text_parameter("cursor", "`next` of the page before")},
       .schema = "JobList",
       .handle = [&c](const ApiRequest& request) { return list(c, request); }},
      {.method = "POST",
       .path = "/api/v1/jobs",
       .id = "submitJob",
       .about = "Submits a recipe; the job is durable when the answer comes",
       .role = Role::kSubmitter,
       .parameters = {header_parameter("idempotency-key",
                                       "a submission with a key that was used before gives the same job again")},
       .body = "Submission",
       .body_required = true,
       .status = 201,
       .schema = "Submitted",
       .errors = {409},
       .handle = [&c](const ApiRequest& request) { return submit(c, request); }},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}",
       .id = "showJob",
       .about = "A job with its recipe and ranks",
       .parameters = {job},
       .schema = "Job",
       .handle = [&c](const ApiRequest& request) { return show(c, request); }},
      {.method = "POST",
       .path = "/api/v1/jobs/{job}/cancel",
       .id = "cancelJob",
       .about = "Ends a job; its checkpoints stay. Of an ended job it changes nothing",
       .role = Role::kSubmitter,
       .parameters = {job},
       .body = "CancelRequest",
       .status = 202,
       .schema = "Cancelled",
       .handle = [&c](const ApiRequest& request) { return cancel(c, request); }},
      {.method = "POST",
       .path = "/api/v1/jobs/{job}/pause",
       .id = "pauseJob",
       .about = "A job that runs commits a checkpoint, frees its slots and waits until it is resumed",
       .role = Role::kSubmitter,
       .parameters = {job},
       .status = 202,
       .schema = "PauseRequested",
       .handle = [&c](const ApiRequest& request) { return ask(c, request, "pause_requested", &Coordinator::pause); }},
      {.method = "POST",
       .path = "/api/v1/jobs/{job}/resume",
       .id = "resumeJob",
       .about = "Queues a paused job again; it goes on from its last checkpoint. Of another job it changes nothing",
       .role = Role::kSubmitter,
       .parameters = {job},
       .status = 202,
       .schema = "ResumeRequested",
       .handle = [&c](const ApiRequest& request) { return ask(c, request, "resume_requested", &Coordinator::resume); }},
  };
}

}  // namespace tephra::coordinator
