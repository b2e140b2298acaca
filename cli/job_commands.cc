// submit, ps, show, watch, logs, trace, cancel, report: from a coordinator, or, where reading is enough and none runs, from the store.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/env.h"
#include "cli/app.h"
#include "cli/flight_commands.h"
#include "cli/http_client.h"
#include "cli/interrupt.h"
#include "cli/live_view.h"
#include "cli/run_command.h"
#include "cli/server_files.h"
#include "cli/store_option.h"
#include "cli/sweep.h"
#include "cli/text.h"
#include "cli/watch.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal.h"
#include "eval/score/report_compare.h"
#include "recipes/recipe.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  ServerOptions server;
  std::string job, recipe, out;
  std::vector<std::string> overrides, sweeps;
  int rank = -1, attempt = 0, steps = 3;
  bool follow = false, json = false, ranks = false, all_stages = false;
  std::vector<std::string> compare;
};

Status no_server(const Options& o) {
  return {Code::kUnavailable, "no coordinator is running on store " + o.server.store +
                                  "; start one with tephra serve --store " + o.server.store +
                                  ", or name one with --server URL"};
}

// The new job's id.
Result<std::string> submit_recipe_json(const Server& server, const std::string& recipe_json) {
  const char* user = std::getenv("USER");
  const json request = {{"recipe_json", recipe_json}, {"user", user == nullptr ? "" : user}};
  TEPHRA_ASSIGN_OR_RETURN(const std::string body, checked(http_post_once(server, "/api/v1/jobs", request.dump())));
  const json reply = json::parse(body, nullptr, false);
  return reply.is_object() ? reply.value("id", "") : "";
}

// Once: several readings are one answer.
void say_from_journal(const std::string& store) {
  static bool said = false;
  if (!std::exchange(said, true))
    std::fprintf(
        stderr,
        "tephra: no coordinator answers on store %s, so this is what its journal says; unfinished jobs go on under "
        "tephra serve --store %s, or under the tephra run that began them\n",
        store.c_str(), store.c_str());
}

// Jobs as JSON documents (coordinator::to_json of a JobView), live or as the store has them.
Result<json> read_jobs(const Options& o) {
  if (auto server = find_server(o.server)) {
    json all = json::array();
    for (std::string cursor;;) {
      const std::string target = "/api/v1/jobs?limit=1000" + (cursor.empty() ? "" : "&cursor=" + cursor);
      TEPHRA_ASSIGN_OR_RETURN(std::string body, checked(http_request(*server, "GET", target)));
      json page = json::parse(body, nullptr, false);
      if (!page.is_object() || !page.contains("jobs"))
        return Status(Code::kInternal, "the server's job list is not understood");
      for (json& job : page["jobs"]) all.push_back(std::move(job));
      if (!page.contains("next") || !page["next"].is_string()) return all;
      cursor = page["next"].get<std::string>();
    }
  }
  TEPHRA_ASSIGN_OR_RETURN(auto store, storage::Store::open(Env::posix(), o.server.store, storage::OpenMode::kReadOnly));
  TEPHRA_ASSIGN_OR_RETURN(auto jobs, coordinator::Journal(*store).load());
  json all = json::array();
  for (const auto& job : jobs)
    all.push_back(json::parse(to_json(coordinator::stored_view(job.state, o.server.store), true)));
  if (std::any_of(jobs.begin(), jobs.end(), [](const auto& job) { return !is_final(job.state.phase); }))
    say_from_journal(o.server.store);
  return all;
}

Result<json> read_job(const Options& o) {
  if (auto server = find_server(o.server)) {
    TEPHRA_ASSIGN_OR_RETURN(std::string body, checked(http_request(*server, "GET", "/api/v1/jobs/" + o.job)));
    return json::parse(body, nullptr, false);
  }
  TEPHRA_ASSIGN_OR_RETURN(json jobs, read_jobs(o));
  for (const json& job : jobs)
    if (job.value("id", "") == o.job) return job;
  return Status(Code::kNotFound,
                "store " + o.server.store + " has no job '" + o.job + "'; see tephra ps --store " + o.server.store);
}

// Nothing is submitted unless every combination is a recipe.
int submit_sweep(const Options& o, const Server& server) {
  const auto combinations = expand_sweeps(o.sweeps);
  if (!combinations.ok()) return fail(combinations.status());
  std::vector<std::string> recipes;
  for (const std::vector<std::string>& combination : *combinations) {
    std::vector<std::string> overrides = o.overrides;
    overrides.insert(overrides.end(), combination.begin(), combination.end());
    const recipes::LoadResult loaded = recipes::load_recipe(o.recipe, overrides);
    if (!loaded.ok()) {
      std::fprintf(stderr, "%s\n", to_string(loaded.diagnostics).c_str());
      return kBadInput;
    }
    recipes.push_back(recipes::to_json(loaded.recipe));
  }
  json all = json::array();
  std::vector<std::vector<std::string>> rows;
  Status failed;
  for (size_t i = 0; i < recipes.size() && failed.ok(); ++i) {
    const Result<std::string> id = submit_recipe_json(server, recipes[i]);
    failed = id.status();
    if (!id.ok()) break;
    all.push_back({{"id", *id}, {"set", (*combinations)[i]}});
    rows.push_back({*id});
    for (const std::string& set : (*combinations)[i]) rows.back().push_back(set.substr(set.find('=') + 1));
  }
  if (o.json) {
    std::printf("%s\n", json{{"jobs", all}}.dump().c_str());
  } else if (!rows.empty()) {
    std::vector<std::string> header{"job"};
    for (const std::string& sweep : o.sweeps) header.push_back(sweep.substr(0, sweep.find('=')));
    std::printf("%s", table(header, rows).c_str());
  }
  if (failed.ok()) return kOk;
  return fail(failed.with_context(std::to_string(rows.size()) + " of " + std::to_string(recipes.size()) +
                                  " jobs were submitted before this"));
}

int submit(const Options& o) {
  const auto server = find_server(o.server);
  if (!server) return fail(no_server(o));
  if (!o.sweeps.empty()) return submit_sweep(o, *server);
  return submit_recipe(
      *server, {.recipe = o.recipe, .store = o.server.store, .overrides = o.overrides, .ranks = 0, .json = o.json});
}

std::string where(const json& job) {
  std::string text = job.value("phase", "");
  if (text == "training" || text == "evaluating") text += " " + job.value("stage", "");
  if (job.contains("progress") && job["progress"].is_object() && text.starts_with("training"))
    text += " " + std::to_string(job["progress"].value("step", 0)) + "/" +
            std::to_string(job["progress"].value("total_steps", 0));
  if (job.value("queue_position", 0) > 0) text += " " + std::to_string(job.value("queue_position", 0));
  if (const std::string why = job.value("waits_for", ""); !why.empty()) text += ": " + why;
  return text;
}

int ps(const Options& o) {
  auto jobs = read_jobs(o);
  if (!jobs.ok()) return fail(jobs.status());
  if (o.json) {
    std::printf("%s\n", jobs->dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json& job : *jobs)
    rows.push_back({job.value("id", ""), where(job), std::to_string(job.value("ranks", 0)),
                    std::to_string(job.value("attempt", 0)), age(job.value("submitted_unix_ms", int64_t{0})),
                    job.value("user", "")});
  std::printf("%s", table({"job", "state", "ranks", "attempt", "submitted", "user"}, rows).c_str());
  return kOk;
}

// The last few of the steps whose checkpoints were not written.
void print_gave_way(const json& stage) {
  constexpr size_t kShown = 10;
  const auto steps = stage.value("gave_way", std::vector<int64_t>{});
  if (steps.empty()) return;
  std::string list = steps.size() > kShown ? "..." : "";
  for (size_t i = steps.size() - std::min(steps.size(), kShown); i < steps.size(); ++i)
    list += (list.empty() ? "" : ", ") + std::to_string(steps[i]);
  std::printf("%s: %zu checkpoints gave way to others that were being written (checkpoint.when_busy): steps %s\n",
              stage.value("name", "").c_str(), steps.size(), list.c_str());
}

// "2 of 1 to 4: no more slots were free when it was given them" of an elastic job, "2" of any other.
std::string ranks_line(const json& job) {
  const int least = job.value("ranks_min", 0), most = job.value("ranks_max", 0);
  std::string line = std::to_string(job.value("ranks", 0));
  if (least < most) line += " of " + std::to_string(least) + " to " + std::to_string(most);
  const std::string reason = job.value("ranks_reason", "");
  return reason.empty() ? line : line + ": " + reason;
}

int show(const Options& o) {
  auto job = read_job(o);
  if (!job.ok()) return fail(job.status());
  if (o.ranks) {
    const auto server = find_server(o.server);
    return server ? show_ranks(*server, o.job, o.json) : fail(no_server(o));
  }
  const Result<json> report = read_flight_report(find_server(o.server), *job, o.attempt);
  if (!report.ok() && (o.attempt > 0 || report.status().code() != Code::kNotFound)) return fail(report.status());
  (*job)["flight_report"] = report.ok() ? *report : json(nullptr);
  if (o.json) {
    std::printf("%s\n", job->dump(2).c_str());
    return kOk;
  }
  std::printf(
      "job       %s (recipe %s)\nstate     %s\nattempt   %d, %d restarts of at most %d between commits\nsubmitted %s\n",
      job->value("id", "").c_str(), job->value("recipe_name", "").c_str(), where(*job).c_str(),
      job->value("attempt", 0), job->value("restarts", 0), job->value("max_restarts", 0),
      age(job->value("submitted_unix_ms", int64_t{0})).c_str());
  std::printf("ranks     %s\n", ranks_line(*job).c_str());
  if (!job->value("reason", "").empty()) std::printf("reason    %s\n", job->value("reason", "").c_str());
  if (!job->value("report", "").empty()) std::printf("report    %s\n", job->value("report", "").c_str());
  std::vector<std::vector<std::string>> rows;
  for (const json& stage : (*job)["stages"]) {
    std::string benches;
    for (const auto& [name, done] : stage["benches"].items())
      benches += (benches.empty() ? "" : ", ") + name + (done.get<bool>() ? " done" : "");
    rows.push_back({stage.value("name", ""), stage.value("complete", false) ? "complete" : "",
                    stage.value("checkpoint", ""), benches});
  }
  std::printf("\n%s", table({"stage", "", "checkpoint", "benches"}, rows).c_str());
  for (const json& stage : (*job)["stages"]) print_gave_way(stage);
  rows.clear();
  for (const json& rank : (*job)["rank_states"])
    rows.push_back({std::to_string(rank.value("rank", 0)), std::to_string(rank.value("pid", 0)),
                    rank.value("phase", ""), std::to_string(rank.value("step", 0)),
                    human_bytes(rank.value("rss_bytes", 0.0)),
                    fixed(rank.value("heartbeat_age_ms", 0.0) / 1000, 1) + " s ago"});
  if (!rows.empty()) std::printf("\n%s", table({"rank", "pid", "phase", "step", "memory", "heartbeat"}, rows).c_str());
  if (report.ok()) print_flight_report(*report, o.attempt > 0 || job->value("phase", "") == "failed");
  return kOk;
}

int watch(const Options& o) {
  if (auto server = find_server(o.server)) return watch_job(*server, o.job, o.json);
  // Nothing runs: say how the job stands.
  const int code = show(o);
  if (code != kOk) return code;
  const auto job = read_job(o);
  return job.ok() ? job_exit_code(job->value("phase", "")) : kOk;
}

// Ranks that have nothing to complain of write nothing; what the job does is told by watch.
void say_nothing_written(const Options& o) {
  if (o.rank < 0)
    std::fprintf(stderr, "tephra: no rank of job %s has written anything\n", o.job.c_str());
  else
    std::fprintf(stderr, "tephra: rank %d of job %s has written nothing\n", o.rank, o.job.c_str());
}

int logs(const Options& o) {
  if (auto server = find_server(o.server)) {
    const auto job = read_job(o);
    if (!job.ok()) return fail(job.status());
    if (job->value("attempt", 0) == 0)
      return fail({Code::kNotFound, "job " + o.job + " has no log: no rank of it was started yet (" +
                                        job->value("phase", "") + "); tephra watch " + o.job + " tells what it does"});
    catch_interrupts();
    size_t written = 0;
    std::string target = "/api/v1/jobs/" + o.job + "/logs?follow=" + (o.follow ? "1" : "0");
    if (o.rank >= 0) target += "&rank=" + std::to_string(o.rank);
    auto status = http_stream(*server, target, [&](const std::string& bytes) {
      written += bytes.size();
      std::fwrite(bytes.data(), 1, bytes.size(), stdout);
      std::fflush(stdout);
      return !interrupted();
    });
    if (interrupted()) return kInterrupted;
    if (!status.ok()) return fail(status.status());
    if (*status != 200)
      return fail({Code::kUnavailable, "the server answered " + std::to_string(*status) + "; ask again"});
    if (written == 0) say_nothing_written(o);
    return kOk;
  }
  auto job = read_job(o);
  if (!job.ok()) return fail(job.status());
  std::string path =
      job->value("directory", "") + "/logs/attempt-" + std::to_string(job->value("attempt", 0)) + "/gang.log";
  std::ifstream in(path);
  if (!in) return fail({Code::kNotFound, "job " + o.job + " has no log at " + path});
  std::string tag = "[1," + std::to_string(o.rank) + "]<";
  bool written = false;
  for (std::string text; std::getline(in, text);) {
    if (o.rank >= 0 && !text.starts_with(tag)) continue;
    std::printf("%s\n", text.c_str());
    written = true;
  }
  if (!written) say_nothing_written(o);
  return kOk;
}

int trace(const Options& o) {
  auto job = read_job(o);
  if (!job.ok()) return fail(job.status());
  return trace_job(find_server(o.server), *job, {o.attempt, o.steps, o.out, o.json});
}

int ask(const Options& o, const std::string& what, std::string answer) {
  auto server = find_server(o.server);
  if (!server) return fail(no_server(o));
  const auto before = read_job(o);  // for the words alone: whether it may be asked is the server's to say
  const std::string phase = before.ok() ? before->value("phase", "") : "";
  if (is_final_phase(phase))
    answer = " has ended (" + phase + "); nothing is changed";
  else if (what == "resume" && before.ok() && phase != "paused")
    answer = " is not paused (" + phase + "); a pause that it was asked for is taken back";
  auto body = checked(http_request(*server, "POST", "/api/v1/jobs/" + o.job + "/" + what, "{}"));
  if (!body.ok()) return fail(body.status());
  std::printf("%s\n", o.json ? body->c_str() : ("job " + o.job + answer).c_str());
  return kOk;
}

int cancel(const Options& o) { return ask(o, "cancel", " is being cancelled"); }
int pause(const Options& o) {
  return ask(o, "pause", " commits a checkpoint, frees its slots and waits for tephra resume");
}
int resume(const Options& o) { return ask(o, "resume", " is queued again"); }

// The report.json of a job, or below or at a path.
Result<std::string> report_json_of(const Options& o, const std::string& named) {
  for (const std::string& path : {named, named + "/report.json", named + "/report/report.json"})
    if (path.ends_with(".json") && Env::posix().exists(path)) return path;
  Options job = o;
  job.job = named;
  const Result<json> found = read_job(job);
  if (!found.ok())
    return found.status().with_context("'" + named + "' is no folder with a report.json, and as a job's name");
  const std::string html = found->value("report", "");
  if (html.empty()) return Status(Code::kNotFound, "job " + named + " has no report yet");
  return html.substr(0, html.rfind('/')) + "/report.json";
}

// Reports of one job, or of one bench's `tephra eval`, are told apart by what they are named by on the command line.
std::string shown_name(const eval::ReportInput& report, const std::string& named,
                       const std::vector<eval::ReportInput>& others) {
  const auto taken = [&](const std::string& name) {
    return std::any_of(others.begin(), others.end(), [&](const eval::ReportInput& other) { return other.job == name; });
  };
  if (!report.job.starts_with("tephra eval")) return taken(report.job) ? named : report.job;
  const std::string folder = std::filesystem::path(named).lexically_normal().filename().string();
  return folder.empty() || taken(folder) ? named : folder;
}

int compare(const Options& o) {
  std::vector<eval::ReportInput> reports;
  for (const std::string& named : o.compare) {
    const auto path = report_json_of(o, named);
    if (!path.ok()) return fail(path.status());
    const auto text = read_file(Env::posix(), *path);
    if (!text.ok()) return fail(text.status());
    auto read = eval::read_report(*text, *path);
    if (!read.ok()) return fail(read.status());
    read->job = shown_name(*read, named, reports);
    reports.push_back(std::move(*read));
  }
  const eval::ReportInput together = eval::compare_reports(reports, !o.all_stages);
  if (!o.out.empty())
    if (const Status written = eval::write_report(together, o.out); !written.ok()) return fail(written);
  std::printf("%s", eval::render_report(together).at(o.json ? "report.json" : "report.md").c_str());
  if (!o.out.empty() && !o.json) std::printf("\nhtml: %s/report.html\n", o.out.c_str());
  return kOk;
}

int report(const Options& o) {
  if (!o.compare.empty()) return compare(o);
  if (o.job.empty()) return fail({Code::kInvalidArgument, "name a job, or several with --compare"});
  auto job = read_job(o);
  if (!job.ok()) return fail(job.status());
  std::string html = job->value("report", "");
  if (html.empty()) return fail({Code::kNotFound, "job " + o.job + " has no report yet"});
  std::string folder = html.substr(0, html.rfind('/'));
  auto text = read_file(Env::posix(), folder + (o.json ? "/report.json" : "/report.md"));
  if (!text.ok()) return fail(text.status());
  std::printf("%s", text->c_str());
  if (!o.json) std::printf("\nhtml: %s\n", html.c_str());
  return kOk;
}
}  // namespace

int submit_recipe(const Server& server, const RunOptions& o) {
  std::vector<std::string> overrides = o.overrides;
  if (o.ranks > 0) overrides.push_back("gang.ranks=" + std::to_string(o.ranks));
  auto loaded = recipes::load_recipe(o.recipe, overrides);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", to_string(loaded.diagnostics).c_str());
    return kBadInput;
  }
  const Result<std::string> id = submit_recipe_json(server, recipes::to_json(loaded.recipe));
  if (!id.ok()) return fail(id.status());
  if (o.json) {
    std::printf("%s\n", json{{"id", *id}}.dump().c_str());
  } else {
    std::printf("job %s submitted; watch it with: tephra watch %s --store %s\n", id->c_str(), id->c_str(),
                o.store.c_str());
  }
  return kOk;
}

void add_jobs(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto add = [&](const std::string& name, const std::string& about, int (*run)(const Options&),
                 const std::string& example) {
    auto* verb = verbs.app.add_subcommand(name, about);
    verb->add_option("--server", o->server.server,
                     "coordinator's address (default TEPHRA_SERVER, then the store's daemon)");
    verb->add_option("--token-file", o->server.token_file,
                     "file with its token (default TEPHRA_TOKEN, then STORE/token)")
        ->check(CLI::ExistingFile);
    verb->add_option("--tls-ca", o->server.tls_ca,
                     "file with the certificate to trust, of the coordinator or of its issuer (default TEPHRA_TLS_CA)");
    add_store_option(*verb, o->server.store);
    verb->add_flag("--json", o->json, "JSON output");
    verb->footer("Example:\n  " + example);
    verb->callback([&verbs, o, run] { verbs.chosen = [o, run] { return run(*o); }; });
    return verb;
  };
  auto* verb = add("submit", "Give a recipe to a coordinator", submit,
                   "tephra submit recipes/demo.yaml --store tephra-store\n"
                   "  tephra submit recipes/demo.yaml --sweep seed=1,2,3 --sweep stages[0].optimizer.lr=1e-3,2e-3");
  verb->add_option("RECIPE", o->recipe, "recipe file (YAML)")->required();
  verb->add_option("--set", o->overrides, "override a field: a.b=value; may be repeated")->take_all();
  verb->add_option("--sweep", o->sweeps, "FIELD=VALUE,VALUE: a job for each value; repeated: for each combination")
      ->take_all();
  add("ps", "List jobs", ps, "tephra ps --store tephra-store");
  verb =
      add("show", "One job: state, stages, ranks, and why an attempt was lost", show,
          "tephra show demo-1\n  tephra show demo-1 --ranks       # where each rank is now, and which one is behind\n"
          "  tephra show demo-1 --attempt 1   # the page of an attempt that was lost");
  verb->add_option("JOB", o->job)->required();
  verb->add_flag("--ranks", o->ranks, "ask the running ranks where they are");
  verb->add_option("--attempt", o->attempt, "the flight report of this attempt, whole")->check(CLI::PositiveNumber);
  add("watch", "Follow a job until it ends; Ctrl-C leaves it running", watch, "tephra watch demo-1")
      ->add_option("JOB", o->job)
      ->required();
  verb = add("logs", "What the ranks wrote", logs, "tephra logs demo-1 -f --rank 1");
  verb->add_option("JOB", o->job)->required();
  verb->add_flag("-f,--follow", o->follow, "go on until the job ends");
  verb->add_option("--rank", o->rank, "only this rank");
  verb = add("trace", "What every rank did in the last steps, as a Chrome trace for ui.perfetto.dev", trace,
             "tephra trace demo-1 --steps 3 --out trace.json");
  verb->add_option("JOB", o->job)->required();
  verb->add_option("--steps", o->steps, "finished steps, the last ones that the ranks' 1,000 records cover")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--out", o->out, "file to write")->required();
  verb->add_option("--attempt", o->attempt, "what this attempt has filed, in place of the running ranks'")
      ->check(CLI::PositiveNumber);
  add("cancel", "End a job; its checkpoints stay", cancel, "tephra cancel demo-1")
      ->add_option("JOB", o->job)
      ->required();
  add("pause", "Commit a checkpoint, free the job's slots and keep it until resume", pause, "tephra pause demo-1")
      ->add_option("JOB", o->job)
      ->required();
  add("resume", "Queue a paused job again; it goes on from its last checkpoint", resume, "tephra resume demo-1")
      ->add_option("JOB", o->job)
      ->required();
  auto* report_verb =
      add("report", "A job's evaluation report (Markdown; --json), or several beside each other", report,
          "tephra report demo-1 --store tephra-store\n  tephra report --compare demo-1 demo-2 --out compared");
  report_verb->add_option("JOB", o->job);
  report_verb->add_option("--compare", o->compare, "jobs, or folders of their reports, to be set beside each other");
  report_verb->add_flag("--all-stages", o->all_stages, "compare every stage, not only each job's last");
  report_verb->add_option("--out", o->out, "folder for the comparison's report");
}

}  // namespace tephra::cli
