#include "cli/man_page.h"

#include <set>
#include <sstream>

namespace tephra::cli {
namespace {

// Text of a line: roff takes '-' for a hyphen, '\' for a command, and a '.' or ''' in front for a request.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out = "\\&" + out;
  return out;
}

void lines(std::ostringstream& out, const std::string& text) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) out << escaped(line) << "\n";
}

// "Example:\n  tephra ...": what is indented is set as it is.
void footer(std::ostringstream& out, const std::string& text) {
  std::istringstream in(text);
  bool example = false;
  for (std::string line; std::getline(in, line);) {
    const bool indented = line.starts_with("  ");
    if (indented != example) out << (indented ? ".PP\n.nf\n" : ".fi\n");
    example = indented;
    if (indented) {
      out << escaped(line) << "\n";
    } else if (!line.empty()) {
      out << ".PP\n" << escaped(line) << "\n";
    }
  }
  if (example) out << ".fi\n";
}

void option(std::ostringstream& out, const OptionInfo& info) {
  out << ".TP\n";
  if (info.names.empty()) {
    out << "\\fI" << escaped(info.place) << "\\fR\n";
  } else {
    std::string names;
    for (const std::string& name : info.names) names += (names.empty() ? "" : ", ") + ("\\fB" + escaped(name) + "\\fR");
    out << names << (info.takes_value ? " \\fIVALUE\\fR" : "") << "\n";
  }
  std::string about = info.about;
  if (info.required && !info.names.empty()) about += " (required)";
  if (!info.fallback.empty()) about += " (default " + info.fallback + ")";
  if (!info.environment.empty()) about += " [" + info.environment + "]";
  lines(out, about.empty() ? "required" : about);
}

}  // namespace

std::string man_page(const std::vector<Command>& commands, const std::string& version) {
  std::ostringstream out;
  const Command& program = commands.front();
  out << ".TH TEPHRA 1 \"\" \"tephra " << escaped(version) << "\" \"User Commands\"\n.SH NAME\ntephra \\- "
      << escaped(program.about) << "\n.SH SYNOPSIS\n.B tephra\n\\fIVERB\\fR [\\fIARGUMENTS\\fR]\n.SH DESCRIPTION\n";
  lines(out, program.about + ".");
  footer(out, program.footer);
  out << ".SH OPTIONS\n";
  for (const OptionInfo& info : program.options) option(out, info);
  out << ".SH VERBS\n";
  std::set<std::string> environment;
  for (const Command& command : commands) {
    for (const OptionInfo& info : command.options)
      if (!info.environment.empty()) environment.insert(info.environment);
    if (command.name.empty()) continue;
    out << ".SS \"tephra " << escaped(command.name);
    for (const OptionInfo& info : command.options)
      if (info.names.empty()) out << " " << escaped(info.place);
    out << "\"\n";
    lines(out, command.about + ".");
    for (const OptionInfo& info : command.options) option(out, info);
    footer(out, command.footer);
  }
  out << ".SH ENVIRONMENT\n";
  for (const std::string& name : environment)
    out << ".TP\n.B " << escaped(name) << "\nstands for the option that names it above.\n";
  return out.str();
}

}  // namespace tephra::cli
