// store stat, store rebuild: a store as a whole, while no coordinator has it (stat: at any time).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/store_option.h"
#include "cli/text.h"
#include "storage/index/store.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  std::string store = "tephra-store";
  bool discard_index = false, json = false;
};

std::string bytes(uint64_t n) { return human_bytes(static_cast<double>(n)); }

int stat(const Options& o) {
  auto store = storage::Store::open(Env::posix(), o.store, storage::OpenMode::kReadOnly);
  if (!store.ok()) return fail(store.status());
  auto stat = (*store)->stat();
  if (!stat.ok()) return fail(stat.status());
  if (o.json) {
    std::printf("%s\n", json{{"checkpoints", stat->checkpoint_count},
                             {"packs", stat->pack_count},
                             {"chunks", stat->chunk_count},
                             {"logical_bytes", stat->logical_bytes},
                             {"physical_bytes", stat->physical_bytes},
                             {"dead_bytes", stat->dead_bytes}}
                            .dump(2)
                            .c_str());
    return kOk;
  }
  std::printf("checkpoints  %lld\nas if whole  %s\non disk      %s in %lld packs, %lld chunks\n",
              static_cast<long long>(stat->checkpoint_count), bytes(stat->logical_bytes).c_str(),
              bytes(stat->physical_bytes).c_str(), static_cast<long long>(stat->pack_count),
              static_cast<long long>(stat->chunk_count));
  std::printf("unreached    %s%s\n", bytes(stat->dead_bytes).c_str(),
              stat->dead_bytes > 0 ? "; tephra ckpt gc gives back what it can" : "");
  return kOk;
}

int rebuild(const Options& o) {
  auto report = storage::Store::rebuild(Env::posix(), o.store, o.discard_index);
  if (!report.ok()) return fail(report.status());
  json left_out = json::array();
  for (const auto& problem : report->left_out)
    left_out.push_back({{"file", problem.pack}, {"message", problem.message}});
  if (o.json) {
    std::printf("%s\n", json{{"index_was_there", report->index_was_there},
                             {"index_moved_to", report->index_moved_to},
                             {"checkpoints", report->checkpoints},
                             {"left_out", left_out},
                             {"packs", report->pack_count},
                             {"chunks", report->chunk_count}}
                            .dump(2)
                            .c_str());
    return kOk;
  }
  if (!report->index_moved_to.empty()) std::printf("the old index is in %s\n", report->index_moved_to.c_str());
  for (const std::string& name : report->checkpoints) std::printf("  found     %s\n", name.c_str());
  for (const auto& problem : report->left_out)
    std::printf("  left out  %s: %s\n", problem.pack.c_str(), problem.message.c_str());
  std::printf("%zu checkpoints, %lld packs and %lld chunks entered into the index%s\n", report->checkpoints.size(),
              static_cast<long long>(report->pack_count), static_cast<long long>(report->chunk_count),
              report->index_was_there ? "" : "; tags and jobs were in the lost one");
  std::printf("checksums of the bytes were not compared: tephra ckpt verify --store %s\n", o.store.c_str());
  return kOk;
}

}  // namespace

void add_store(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("store", "A checkpoint store as a whole");
  group->require_subcommand(1);
  auto o = std::make_shared<Options>();
  auto add = [&](const std::string& name, const std::string& about, int (*run)(const Options&),
                 const std::string& more) {
    auto* verb = group->add_subcommand(name, about);
    add_store_option(*verb, o->store);
    verb->add_flag("--json", o->json, "one JSON document");
    verb->footer(more);
    verb->callback([&verbs, o, run] { verbs.chosen = [o, run] { return run(*o); }; });
    return verb;
  };
  add("stat", "How many checkpoints there are, and the bytes that they take", stat,
      "Example:\n  tephra store stat --store tephra-store");
  add("rebuild", "Make the index again from packs/ and manifests/", rebuild,
      "For a store whose index/ was lost, is damaged, or was put back from an older copy; no coordinator may run on it.\n"
      "An older index keeps its tags and jobs. Nothing is deleted.\nExample:\n  tephra store rebuild --store tephra-store")
      ->add_flag("--discard-index", o->discard_index, "put the index aside although it opens");
}

}  // namespace tephra::cli
