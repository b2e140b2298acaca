#include "cli/completion.h"

namespace tephra::cli {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// In single quotes of a shell; fish knows \' inside them, the others do not.
std::string quoted(const std::string& text, bool fish) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += fish ? "\\'" : "'\\''";
    } else if (c == '\\' && fish) {
      out += "\\\\";
    } else {
      out += c;
    }
  }
  return out + "'";
}

// In bash and zsh: the verbs so far, into `at`.
std::string walk(const std::vector<Command>& commands, const std::string& words, const std::string& last) {
  std::string known;
  for (const Command& command : commands)
    if (!command.name.empty()) known += (known.empty() ? "" : "|") + ("\"" + command.name + "\"");
  return "  local at=\"\" word\n  for word in " + words + "; do\n    case \"${at:+$at }$word\" in\n      " + known +
         ") at=\"${at:+$at }$word\" ;;\n    esac\n  done\n  case \"$at\" in\n" + last + "  esac\n";
}

std::string bash(const std::vector<Command>& commands) {
  std::string cases;
  for (const Command& command : commands) {
    std::string words;
    for (const std::string& verb : command.verbs) words += verb + " ";
    for (const OptionInfo& option : command.options)
      for (const std::string& name : option.names) words += name + " ";
    cases += "    \"" + command.name + "\") words=\"" + words + "\" ;;\n";
  }
  return "# bash completion for tephra: eval \"$(tephra completion bash)\"\n_tephra() {\n  local words=\"\" current=\"${COMP_WORDS[COMP_CWORD]}\"\n" +
         walk(commands, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"", cases) +
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\ncomplete -o default -F _tephra tephra\n";
}

// "name:what it is", as zsh's _describe takes it.
std::string described(const std::string& word, const std::string& about) {
  std::string name;
  for (const char c : word) name += c == ':' ? std::string("\\:") : std::string(1, c);
  return " " + quoted(name + ":" + first_line(about), false);
}

// Verbs and options are described apart: zsh offers what it was told are options only behind a '-'. The end is for both ways to load
// it: from a folder of fpath, where the first completion runs the whole file, and by `source`.
std::string zsh(const std::vector<Command>& commands) {
  std::string cases;
  for (const Command& command : commands) {
    std::string verbs, options;
    for (const std::string& verb : command.verbs)
      for (const Command& below : commands)
        if (below.name == (command.name.empty() ? verb : command.name + " " + verb))
          verbs += described(verb, below.about);
    for (const OptionInfo& option : command.options)
      for (const std::string& name : option.names) options += described(name, option.about);
    cases += "    \"" + command.name + "\") verbs=(" + verbs + ") options=(" + options + ") ;;\n";
  }
  return "#compdef tephra\n# zsh completion for tephra: tephra completion zsh > \"${fpath[1]}/_tephra\"\n_tephra() {\n  local -a verbs options\n" +
         walk(commands, "\"${(@)words[2,CURRENT-1]}\"", cases) +
         "  if [[ \"${words[CURRENT]}\" == -* ]]; then\n    _describe -o option options\n"
         "  elif (( ${#verbs} )); then\n    _describe -t commands command verbs\n  else\n    _files\n  fi\n}\n"
         "if [[ \"${funcstack[1]}\" == _tephra ]]; then _tephra \"$@\"; else compdef _tephra tephra; fi\n";
}

std::string fish(const std::vector<Command>& commands) {
  std::string out =
      "# fish completion for tephra: tephra completion fish > ~/.config/fish/completions/tephra.fish\n"
      "# True when the verbs so far are exactly those given.\n"
      "function __tephra_at\n  set -l at\n  for word in (commandline -opc)[2..]\n"
      "    string match -q -- '-*' $word; and continue\n    if contains -- (string join ' ' $at $word) ";
  for (const Command& command : commands)
    if (!command.name.empty()) out += quoted(command.name, true) + " ";
  out += "\n      set at $at $word\n    end\n  end\n  test \"$at\" = \"$argv\"\nend\n";
  for (const Command& command : commands) {
    const std::string when = "complete -c tephra -n " + quoted("__tephra_at " + command.name, true);
    for (const std::string& verb : command.verbs)
      for (const Command& below : commands)
        if (below.name == (command.name.empty() ? verb : command.name + " " + verb))
          out += when + " -f -a " + verb + " -d " + quoted(first_line(below.about), true) + "\n";
    for (const OptionInfo& option : command.options) {
      if (option.names.empty()) continue;
      out += when;
      for (const std::string& name : option.names)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      out += (option.takes_value ? " -r" : "") + (" -d " + quoted(first_line(option.about), true)) + "\n";
    }
  }
  return out;
}

}  // namespace

Result<std::string> completion_script(const std::vector<Command>& commands, const std::string& shell) {
  if (shell == "bash") return bash(commands);
  if (shell == "zsh") return zsh(commands);
  if (shell == "fish") return fish(commands);
  return Status(Code::kInvalidArgument,
                "'" + shell + "' is no shell that completions are made for; there are bash, zsh, fish");
}

}  // namespace tephra::cli
