#include "cli/checkpoint_verbs.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "cli/store_option.h"

namespace tephra::cli {

using nlohmann::json;

CLI::App* add_read_verb(Verbs& verbs, CLI::App& group, const std::string& name, const std::string& about,
                        const std::string& example, ReadOptions* options, std::function<int()> run) {
  auto* verb = group.add_subcommand(name, about);
  add_store_option(*verb, options->store);
  verb->add_flag("--json", options->json, "one JSON document");
  verb->footer("A checkpoint is named JOB/STAGE@STEP, JOB/STAGE@latest, JOB/STAGE@best, or by a tag.\nExample:\n  " +
               example);
  verb->callback([&verbs, run = std::move(run)] { verbs.chosen = run; });
  return verb;
}

Result<std::unique_ptr<storage::Store>> open_to_read(const std::string& store) {
  return storage::Store::open(Env::posix(), store, storage::OpenMode::kReadOnly);
}

json describe(const storage::Manifest& m) {
  return {{"name", m.name()},
          {"job", m.job},
          {"stage", m.stage},
          {"step", m.step},
          {"attempt", m.attempt},
          {"created_unix_ms", m.created_unix_ms},
          {"parent", m.parent},
          {"sampler_position", m.sampler_position},
          {"stage_complete", m.stage_complete},
          {"content_hash", m.content_hash.hex()},
          {"logical_bytes", m.logical_bytes},
          {"new_bytes", m.new_bytes},
          {"metrics", m.metrics},
          {"handover", m.handover},
          {"build", m.build}};
}

}  // namespace tephra::cli
