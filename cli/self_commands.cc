// completion, man: what the program says of itself.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/version.h"
#include "cli/app.h"
#include "cli/completion.h"
#include "cli/man_page.h"

namespace tephra::cli {

void add_self(Verbs& verbs) {
  auto shell = std::make_shared<std::string>();
  auto* completion = verbs.app.add_subcommand("completion", "Print a shell's completion script");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")->required();
  completion->footer("Example:\n  eval \"$(tephra completion bash)\"");
  completion->callback([&verbs, shell] {
    verbs.chosen = [&verbs, shell]() -> int {
      const Result<std::string> script = completion_script(command_tree(verbs.app), *shell);
      if (!script.ok()) return fail(script.status());
      std::fputs(script->c_str(), stdout);
      return kOk;
    };
  });
  auto* man = verbs.app.add_subcommand("man", "Print the manual page, in roff");
  man->footer("Example:\n  tephra man | man -l -");
  man->callback([&verbs] {
    verbs.chosen = [&verbs]() -> int {
      std::fputs(man_page(command_tree(verbs.app), std::string(kVersion)).c_str(), stdout);
      return kOk;
    };
  });
}

}  // namespace tephra::cli
