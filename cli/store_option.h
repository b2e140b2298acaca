// The option that says which store a verb is about: --store, else the environment's TEPHRA_STORE, else what `store` holds.
#pragma once

#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tephra::cli {

// `store` is written once the verb was parsed, and has to live as long as `verb`. Verbs may share it.
CLI::Option* add_store_option(CLI::App& verb, std::string& store, const std::string& about = "store folder");

}  // namespace tephra::cli
