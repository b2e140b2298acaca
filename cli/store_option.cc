#include "cli/store_option.h"

#include <CLI/CLI.hpp>

namespace tephra::cli {

CLI::Option* add_store_option(CLI::App& verb, std::string& store, const std::string& about) {
  // CLI11 reads the environment for verbs that were not given too; one that shares `store` would overwrite what the
  // command line says.
  const auto set = [&verb, &store](const std::string& value) {
    if (verb.parsed()) store = value;
  };
  return verb.add_option_function<std::string>("--store", set, about)->envname("TEPHRA_STORE")->default_str(store);
}

}  // namespace tephra::cli
