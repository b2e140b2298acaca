// The parser's own verbs and options as plain data, from which the completion scripts and the man page are made: what they say is
// what --help says.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace tephra::cli {

struct OptionInfo {
  std::vector<std::string> names;  // "--json", "-f"; empty: it stands in its place ("JOB")
  std::string place;               // of one that stands in its place
  std::string about;
  std::string environment;  // variable that gives it; may be empty
  std::string fallback;     // what it is when not given; may be empty
  bool takes_value = false;
  bool required = false;
};

struct Command {
  std::string name;  // "ckpt ls"; the program's own is ""
  std::string about;
  std::string footer;  // "Example:\n  ..."
  std::vector<OptionInfo> options;
  std::vector<std::string> verbs;  // below it: "ls"
};

// The program first, then its verbs in order, each followed by those below it. What is hidden is left out.
std::vector<Command> command_tree(const CLI::App& app);

}  // namespace tephra::cli
