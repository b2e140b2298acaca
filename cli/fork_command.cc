// fork: a new job from a checkpoint, with another recipe. It is `run`, or `submit` where a coordinator owns the store,
// with the recipe's key fork set; what the checkpoint has to agree with is looked at before a rank starts.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/checkpoint_verbs.h"
#include "cli/run_command.h"
#include "cli/store_option.h"

namespace tephra::cli {
namespace {

struct Options {
  RunOptions run;
  ServerOptions server;
  std::string checkpoint;
  bool resume = false;
};

int fork_job(const Options& given) {
  Options o = given;
  o.run.store = o.server.store;
  const auto server = find_server(o.server);
  // By its full name, so that the recipe says the same tomorrow, and no job is made of a name that is nothing. A
  // coordinator elsewhere looks the name up itself.
  if (!server || Env::posix().exists(o.server.store + "/index")) {
    const auto store = open_to_read(o.server.store);
    if (!store.ok()) return fail(store.status());
    const auto full = (*store)->resolve(o.checkpoint);
    if (!full.ok()) return fail(full.status());
    o.checkpoint = *full;
  }
  o.run.overrides.push_back("fork.checkpoint=" + nlohmann::json(o.checkpoint).dump());
  o.run.overrides.push_back(std::string("fork.resume=") + (o.resume ? "true" : "false"));
  return server ? submit_recipe(*server, o.run) : run_recipe(o.run);
}

}  // namespace

void add_fork(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* verb = verbs.app.add_subcommand("fork", "Start a job from a checkpoint, with an edited recipe");
  verb->add_option("CHECKPOINT", o->checkpoint, "where it starts: JOB/STAGE@STEP, @latest, @best or a tag")->required();
  verb->add_option("RECIPE", o->run.recipe, "recipe file (YAML); its stages with init: base start there")->required();
  verb->add_flag("--resume", o->resume,
                 "the first stage goes on at the checkpoint's step, with its moments; it has to be the same stage");
  verb->add_option("--set", o->run.overrides, "override a field: a.b=value; may be repeated")->take_all();
  verb->add_option("--ranks", o->run.ranks, "ranks of the gang; overrides gang.ranks");
  add_store_option(*verb, o->server.store);
  verb->add_option("--server", o->server.server,
                   "coordinator to give the job to (default TEPHRA_SERVER, then the store's daemon); without one it "
                   "runs in the foreground");
  verb->add_option("--token-file", o->server.token_file, "file with its token (default TEPHRA_TOKEN, then STORE/token)")
      ->check(CLI::ExistingFile);
  verb->add_flag("--json", o->run.json, "events as JSON lines");
  verb->footer(
      "The new job shares every chunk that it does not change; `tephra ckpt log` shows what it is a fork of.\n"
      "Example:\n  tephra fork demo-1/align@latest recipes/demo.yaml --set stages[1].optimizer.lr=5e-4\n"
      "  tephra fork demo-1/instruct@best longer.yaml --resume");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return fork_job(*o); }; });
}

}  // namespace tephra::cli
