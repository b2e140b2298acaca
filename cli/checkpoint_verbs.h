// What the verbs of `tephra ckpt` share. Private to cli.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"
#include "cli/app.h"
#include "storage/index/store.h"

namespace tephra::cli {

// Of a verb that only reads: it works beside the store's owner, on the store as it was when the verb began.
struct ReadOptions {
  std::string store = "tephra-store";
  bool json = false;
};

// Adds the verb with --store, --json and its example; `options` lives as long as `run` does.
CLI::App* add_read_verb(Verbs& verbs, CLI::App& group, const std::string& name, const std::string& about,
                        const std::string& example, ReadOptions* options, std::function<int()> run);

Result<std::unique_ptr<storage::Store>> open_to_read(const std::string& store);

// Everything of the manifest but its tensors.
nlohmann::json describe(const storage::Manifest& manifest);

void add_checkpoint_history(Verbs& verbs, CLI::App& group);  // log diff
void add_checkpoint_changes(Verbs& verbs, CLI::App& group);  // tag untag pin unpin rm prune gc
void add_checkpoint_files(Verbs& verbs, CLI::App& group);    // export import

}  // namespace tephra::cli
