// completion, man: what the program says of itself.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/version.h"
#include "cli/app.h"
#include "cli/completion.h"
#include "cli/man_page.h"

namespace tephra::cli {

namespace {
using nlohmann::json;

json to_json(const OptionInfo& option) {
  json out = {{"about", option.about}, {"takes_value", option.takes_value}, {"required", option.required}};
  if (option.names.empty()) {
    out["place"] = option.place;
  } else {
    out["names"] = option.names;
  }
  if (!option.environment.empty()) out["environment"] = option.environment;
  if (!option.fallback.empty()) out["default"] = option.fallback;
  return out;
}

json to_json(const std::vector<Command>& commands) {
  json all = json::array();
  for (const Command& command : commands) {
    json options = json::array();
    for (const OptionInfo& option : command.options) options.push_back(to_json(option));
    all.push_back({{"verb", command.name}, {"about", command.about}, {"options", options}, {"verbs", command.verbs}});
  }
  return all;
}
}  // namespace

void add_self(Verbs& verbs) {
  struct Options {
    std::string shell;
    bool json = false;
  };
  auto o = std::make_shared<Options>();
  auto* completion = verbs.app.add_subcommand("completion", "Print a shell's completion script");
  completion->add_option("SHELL", o->shell, "bash, zsh or fish")->required();
  completion->add_flag("--json", o->json, "the script in a JSON document");
  completion->footer("Example:\n  eval \"$(tephra completion bash)\"");
  completion->callback([&verbs, o] {
    verbs.chosen = [&verbs, o]() -> int {
      const Result<std::string> script = completion_script(command_tree(verbs.app), o->shell);
      if (!script.ok()) return fail(script.status());
      if (o->json) {
        std::printf("%s\n", json{{"shell", o->shell}, {"script", *script}}.dump().c_str());
      } else {
        std::fputs(script->c_str(), stdout);
      }
      return kOk;
    };
  });
  auto* man = verbs.app.add_subcommand("man", "Print the manual page, in roff");
  man->add_flag("--json", o->json, "every verb and option as one JSON document");
  man->footer("Example:\n  tephra man | man -l -");
  man->callback([&verbs, o] {
    verbs.chosen = [&verbs, o]() -> int {
      const std::vector<Command> commands = command_tree(verbs.app);
      std::fputs((o->json ? to_json(commands).dump() + "\n" : man_page(commands, std::string(kVersion))).c_str(),
                 stdout);
      return kOk;
    };
  });
}

}  // namespace tephra::cli
