// ckpt tag, untag, pin, unpin, rm, prune and gc. They change the store, which one process owns: a running coordinator is
// asked over HTTP, and without one the command opens the store itself. Both carry out the same request
// (coordinator/checkpoint_requests.h).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/checkpoint_verbs.h"
#include "cli/server_files.h"
#include "cli/store_option.h"
#include "cli/text.h"
#include "coordinator/checkpoint_requests.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  ServerOptions server;
  std::string name, tag, job, metric = "loss", mode = "min", max_age, max_bytes;
  std::vector<std::string> names;
  int64_t keep_last = 0, keep_best = 0, keep_every = 0;
  bool force = false, dry_run = false, json = false;
};

Result<json> change(const Options& o, const std::string& verb, const json& request) {
  std::string body;
  if (const auto server = find_server(o.server)) {
    TEPHRA_ASSIGN_OR_RETURN(body,
                            checked(http_request(*server, "POST", "/api/v1/checkpoints/" + verb, request.dump())));
  } else {
    // Opening for writing would make a store of any folder.
    if (!Env::posix().exists(o.server.store + "/packs")) return no_store(o.server.store);
    TEPHRA_ASSIGN_OR_RETURN(const auto store,
                            storage::Store::open(Env::posix(), o.server.store, storage::OpenMode::kReadWrite));
    TEPHRA_ASSIGN_OR_RETURN(body,
                            coordinator::change_checkpoints(*store, verb, request.dump(), Clock::system().unix_ms()));
  }
  json reply = json::parse(body, nullptr, false);
  if (!reply.is_object()) return Status(Code::kInternal, "the server's answer is not understood");
  return reply;
}

std::string bytes_of(const json& row, const char* key) { return human_bytes(row.value(key, 0.0)); }

std::string plural(size_t n, const std::string& word) { return std::to_string(n) + " " + word + (n == 1 ? "" : "s"); }

int tag(const Options& o) {
  const auto reply = change(o, "tag", {{"name", o.name}, {"tag", o.tag}, {"force", o.force}});
  if (!reply.ok()) return fail(reply.status());
  const std::string name = reply->value("name", ""), from = reply->value("moved_from", "");
  if (o.json)
    std::printf("%s\n", reply->dump().c_str());
  else if (!from.empty())
    std::printf("'%s' moved from %s to %s\n", o.tag.c_str(), from.c_str(), name.c_str());
  else
    std::printf("%s is tagged '%s'\n", name.c_str(), o.tag.c_str());
  return kOk;
}

int untag(const Options& o) {
  const auto reply = change(o, "untag", {{"tag", o.tag}});
  if (!reply.ok()) return fail(reply.status());
  std::printf("%s\n", o.json ? reply->dump().c_str() : ("tag '" + o.tag + "' removed").c_str());
  return kOk;
}

int pin(const Options& o, const std::string& verb) {
  const auto reply = change(o, verb, {{"name", o.name}});
  if (!reply.ok()) return fail(reply.status());
  const std::string text = reply->value("name", "") + (verb == "pin" ? " is pinned" : " is no longer pinned");
  std::printf("%s\n", o.json ? reply->dump().c_str() : text.c_str());
  return kOk;
}

// What follows a removal.
void print_removed(size_t count, const std::string& bytes, const Options& o) {
  if (o.dry_run)
    std::printf("%s would be removed, %s; nothing was done\n", plural(count, "checkpoint").c_str(), bytes.c_str());
  else if (count == 0)
    std::printf("nothing to remove\n");
  else
    std::printf("%s removed, %s; `tephra ckpt gc` gives the space back\n", plural(count, "checkpoint").c_str(),
                bytes.c_str());
}

int remove(const Options& o) {
  const auto reply = change(o, "rm", {{"names", o.names}, {"dry_run", o.dry_run}});
  if (!reply.ok()) return fail(reply.status());
  if (o.json) {
    std::printf("%s\n", reply->dump(2).c_str());
    return kOk;
  }
  double total = 0;
  std::vector<std::vector<std::string>> rows;
  for (const json& row : (*reply)["removed"]) {
    total += row.value("bytes", 0.0);
    rows.push_back({row.value("name", ""), bytes_of(row, "bytes")});
  }
  std::printf("%s", table({"checkpoint", "written"}, rows).c_str());
  print_removed(rows.size(), human_bytes(total), o);
  return kOk;
}

int prune(const Options& o) {
  json policy = {{"last", o.keep_last}, {"best", o.keep_best},  {"every", o.keep_every},   {"metric", o.metric},
                 {"mode", o.mode},      {"max_age", o.max_age}, {"max_bytes", o.max_bytes}};
  const auto reply = change(o, "prune", {{"job", o.job}, {"policy", policy}, {"dry_run", o.dry_run}});
  if (!reply.ok()) return fail(reply.status());
  if (o.json) {
    std::printf("%s\n", reply->dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json& row : (*reply)["checkpoints"])
    rows.push_back({row.value("name", ""), row.value("keep", true) ? "stays" : "goes", bytes_of(row, "bytes"),
                    row.value("reason", "")});
  std::printf("%s\n", table({"checkpoint", "", "written", "why"}, rows).c_str());
  print_removed(reply->value("removed", size_t{0}), bytes_of(*reply, "removed_bytes"), o);
  return kOk;
}

int collect(const Options& o) {
  const auto reply = change(o, "gc", {{"dry_run", o.dry_run}});
  if (!reply.ok()) return fail(reply.status());
  if (o.json) {
    std::printf("%s\n", reply->dump(2).c_str());
    return kOk;
  }
  const json &packs = (*reply)["packs"], &kept = (*reply)["kept_for_writers"];
  const json rewritten = reply->value("rewritten", json::array());
  if (o.dry_run) {
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const json& files, const std::string& note) {
      for (const auto& file : files.get<std::vector<std::string>>())
        rows.push_back({file, bytes_of((*reply)["by_pack"], file.c_str()), note});
    };
    add(packs, "");
    add(rewritten, "what is needed of it moves");
    if (!rows.empty()) std::printf("%s", table({"pack", "given back", ""}, rows).c_str());
  }
  if (packs.empty() && rewritten.empty())
    std::printf("nothing to collect: every pack holds something that a checkpoint needs\n");
  else
    std::printf("%s, %s %s\n", plural(packs.size() + rewritten.size(), "pack").c_str(),
                bytes_of(*reply, "bytes").c_str(), o.dry_run ? "would be given back; nothing was done" : "given back");
  if (!kept.empty())
    std::printf("%s stay: a running job may be writing or using them\n", plural(kept.size(), "file").c_str());
  return kOk;
}

}  // namespace

void add_checkpoint_changes(Verbs& verbs, CLI::App& group) {
  auto o = std::make_shared<Options>();
  auto add = [&](const std::string& name, const std::string& about, const std::string& example,
                 std::function<int(const Options&)> run) {
    auto* verb = group.add_subcommand(name, about);
    add_store_option(*verb, o->server.store);
    verb->add_option("--server", o->server.server,
                     "coordinator that owns the store (default TEPHRA_SERVER, then the store's daemon)");
    verb->add_option("--token-file", o->server.token_file,
                     "file with its token (default TEPHRA_TOKEN, then STORE/token)")
        ->check(CLI::ExistingFile);
    verb->add_flag("--json", o->json, "one JSON document");
    verb->footer("Example:\n  " + example);
    verb->callback([&verbs, o, run = std::move(run)] { verbs.chosen = [o, run] { return run(*o); }; });
    return verb;
  };
  const auto dry_run = [&](CLI::App* verb) { verb->add_flag("--dry-run", o->dry_run, "only say what would go"); };

  auto* verb =
      add("tag", "Give a checkpoint a name that stays with it", "tephra ckpt tag demo-1/instruct@400 good", tag);
  verb->add_option("CHECKPOINT", o->name)->required();
  verb->add_option("TAG", o->tag, "letters, digits, '.', '_' and '-'")->required();
  verb->add_flag("--force", o->force, "move the tag if it is on another checkpoint");
  add("untag", "Take a tag away; the checkpoint stays", "tephra ckpt untag good", untag)
      ->add_option("TAG", o->tag)
      ->required();
  add("pin", "Hold a checkpoint: nothing removes it until it is unpinned", "tephra ckpt pin demo-1/instruct@400",
      [](const Options& options) { return pin(options, "pin"); })
      ->add_option("CHECKPOINT", o->name)
      ->required();
  add("unpin", "Take a pin away", "tephra ckpt unpin demo-1/instruct@400",
      [](const Options& options) { return pin(options, "unpin"); })
      ->add_option("CHECKPOINT", o->name)
      ->required();
  verb = add("rm", "Forget checkpoints; all that are named, or none when one of them is held",
             "tephra ckpt rm demo-1/align@50 demo-1/align@100 --dry-run", remove);
  verb->add_option("CHECKPOINT", o->names)->required();
  dry_run(verb);
  verb =
      add("prune", "Remove checkpoints that no rule keeps, in each stage of each job",
          "tephra ckpt prune --keep-last 3 --keep-best 1 --dry-run\n"
          "The newest of a stage stays, and so does what a tag, a pin, a job that is not finished or a report needs.",
          prune);
  verb->add_option("--job", o->job, "only this job's");
  verb->add_option("--keep-last", o->keep_last, "the newest so many")->check(CLI::PositiveNumber);
  verb->add_option("--keep-best", o->keep_best, "the best so many by --metric")->check(CLI::PositiveNumber);
  verb->add_option("--keep-every", o->keep_every, "those whose step is a multiple")->check(CLI::PositiveNumber);
  verb->add_option("--metric", o->metric, "of a checkpoint, as ckpt show prints it")->capture_default_str();
  verb->add_option("--mode", o->mode, "whether the smallest or the largest is the best")
      ->check(CLI::IsMember({"min", "max"}))
      ->capture_default_str();
  verb->add_option("--max-age", o->max_age, "remove what is older, also where a rule keeps it: 12h, 7d");
  verb->add_option("--max-bytes", o->max_bytes, "remove the oldest until all have written no more: 50GB");
  dry_run(verb);
  verb = add("gc", "Give back the disk space of what no checkpoint needs", "tephra ckpt gc --dry-run", collect);
  dry_run(verb);
}

}  // namespace tephra::cli
