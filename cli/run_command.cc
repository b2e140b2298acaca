#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/log.h"
#include "base/version.h"
#include "cli/app.h"
#include "cli/interrupt.h"
#include "cli/programs.h"
#include "cli/render.h"
#include "cli/run_command.h"
#include "cli/store_option.h"
#include "cli/text.h"
#include "coordinator/coordinator.h"
#include "recipes/recipe.h"

namespace tephra::cli {
namespace {
using coordinator::Coordinator;

using Options = RunOptions;

Result<recipes::Recipe> load(const Options& o) {
  std::vector<std::string> overrides = o.overrides;
  if (o.ranks > 0) overrides.push_back("gang.ranks=" + std::to_string(o.ranks));
  auto loaded = recipes::load_recipe(o.recipe, overrides);
  if (!loaded.ok()) return Status(Code::kInvalidArgument, to_string(loaded.diagnostics));
  return loaded.recipe;
}

// The unfinished job that continues the recipe, if an earlier run was interrupted; else a new one.
Result<std::string> find_or_submit(Coordinator& coordinator, const recipes::Recipe& recipe, EventRenderer& out) {
  TEPHRA_ASSIGN_OR_RETURN(const coordinator::JobPage unfinished, coordinator.page(coordinator::unfinished_jobs()));
  for (const coordinator::JobView& view : unfinished.jobs) {
    const auto theirs = recipes::from_json(view.state.recipe_json);
    if (theirs.ok() && recipes::continues(*theirs, recipe)) {
      out.line("job " + view.state.id + " goes on where it was interrupted, on " + std::to_string(recipe.gang.ranks) +
               (recipe.gang.ranks == 1 ? " rank" : " ranks"));
      if (view.state.phase == coordinator::Phase::kPaused) TEPHRA_RETURN_IF_ERROR(coordinator.resume(view.state.id));
      return view.state.id;
    }
    out.line("note: unfinished job " + view.state.id + " of this store goes on too");
  }
  const char* user = std::getenv("USER");
  return coordinator.submit(recipes::to_json(recipe), user == nullptr ? "" : user);
}

bool needs_key(const recipes::BenchRecipe& bench) {
  return bench.judge && !bench.judge->key_env.empty() && bench.judge->endpoint != "local";
}

std::vector<std::string> key_variables(const recipes::Recipe& recipe) {
  std::vector<std::string> names;
  for (const recipes::BenchRecipe& bench : recipe.benches)
    if (needs_key(bench)) names.push_back(bench.judge->key_env);
  return names;
}

// The recipe may be another's: which secret of this environment it sends where is said before anything runs.
void tell_of_keys(const recipes::Recipe& recipe, EventRenderer& out) {
  for (const recipes::BenchRecipe& bench : recipe.benches)
    if (needs_key(bench) && std::getenv(bench.judge->key_env.c_str()) == nullptr)
      out.line("note: bench " + bench.name + " is judged without a key, as $" + bench.judge->key_env +
               " is not set; set it before tephra run if " + bench.judge->endpoint + " wants one");
    else if (needs_key(bench))
      out.line("note: bench " + bench.name + " sends the value of $" + bench.judge->key_env + " to " +
               bench.judge->endpoint + ", its judge");
}

int conclude(const coordinator::JobView& view, const EventRenderer& out, bool json) {
  const coordinator::JobState& state = view.state;
  if (!json) {
    std::string summary = out.summary();
    if (!summary.empty()) std::printf("\n%s", summary.c_str());
    double seconds = static_cast<double>(state.finished_unix_ms - state.submitted_unix_ms) / 1000;
    std::printf("\njob %s: %s after %s\n", state.id.c_str(), std::string(phase_name(state.phase)).c_str(),
                human_duration(seconds).c_str());
    if (!view.report_path.empty()) std::printf("report: %s\n", view.report_path.c_str());
  }
  if (state.phase == coordinator::Phase::kDone) return kOk;
  std::fprintf(stderr, "tephra: job %s %s: %s\n", state.id.c_str(), std::string(phase_name(state.phase)).c_str(),
               (state.phase == coordinator::Phase::kCancelled ? state.cancel_reason : state.reason).c_str());
  return kFailed;
}

}  // namespace

int run_recipe(const RunOptions& o) {
  auto recipe = load(o);
  if (!recipe.ok()) {
    std::fprintf(stderr, "%s\n", recipe.status().message().c_str());
    return kBadInput;
  }
  coordinator::Options options;
  if (const Status applied = apply(o.launcher, &options); !applied.ok()) return fail(applied);
  auto worker = find_worker();
  if (!worker.ok()) return fail(worker.status());
  catch_interrupts();
  options.store_dir = o.store;
  options.worker_program = *worker;
  options.judges.any = true;  // it is this user's environment, and this user's recipe
  for (const std::string& name : key_variables(*recipe)) options.launching.withheld.push_back(name);
  options.goes_on_with = recipes::to_json(*recipe);
  auto coordinator = Coordinator::start(options);
  if (!coordinator.ok()) return fail(coordinator.status());

  EventRenderer out(output_mode(o.json));
  std::mutex mutex;  // events come on the coordinator's thread
  out.line("tephra " + std::string(kVersion) + "  store " + o.store + "  " + std::to_string((*coordinator)->slots()) +
           " slots");
  tell_of_keys(*recipe, out);
  uint64_t subscription = (*coordinator)->subscribe("", [&](const coordinator::JobEvent& e) {
    std::lock_guard lock(mutex);
    out.event(to_json(e));
  });
  auto job = find_or_submit(**coordinator, *recipe, out);
  if (!job.ok()) return fail(job.status());
  for (;;) {
    auto state = (*coordinator)->wait(*job, Deadline::after(std::chrono::milliseconds(100)));
    if (state.ok()) break;
    if (state.status().code() != Code::kTimeout) return fail(state.status());
    if (!interrupted()) continue;
    {
      std::lock_guard lock(mutex);
      out.line("stopping (the ranks finish their step and write a checkpoint) ...");
    }
    (*coordinator)->unsubscribe(subscription);
    (*coordinator)->shutdown();
    std::fprintf(
        stderr,
        "tephra: interrupted; job %s is kept. The same command goes on from its last checkpoint, also with another "
        "number of ranks.\n",
        job->c_str());
    return kInterrupted;
  }
  (*coordinator)->unsubscribe(subscription);
  auto view = (*coordinator)->get(*job);
  if (!view.ok()) return fail(view.status());
  (*coordinator)->shutdown();
  return conclude(*view, out, o.json);
}

void add_run(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* verb = verbs.app.add_subcommand("run", "Run a whole job in the foreground");
  verb->add_option("RECIPE", o->recipe, "recipe file (YAML)")->required();
  verb->add_option("--set", o->overrides, "override a field: a.b=value; may be repeated")->take_all();
  add_store_option(*verb, o->store, "store folder; made when missing");
  verb->add_option("--ranks", o->ranks,
                   "ranks of the gang; overrides gang.ranks, also of an interrupted job that goes on");
  add_launcher_options(verb, &o->launcher);
  verb->add_flag("--json", o->json, "events as JSON lines");
  verb->footer(
      "Examples:\n  tephra run recipes/demo.yaml --store tephra-store --set seed=2\n"
      "  tephra run recipe.yaml --store /shared/store --launcher hosts --hosts-file hosts --network 10.0.0.0/16");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return run_recipe(*o); }; });
}

}  // namespace tephra::cli
