#include "cli/command_tree.h"

#include <CLI/CLI.hpp>

namespace tephra::cli {
namespace {

OptionInfo option_info(const CLI::Option& option) {
  OptionInfo info;
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  if (info.names.empty()) info.place = option.get_name();
  info.about = option.get_description();
  info.environment = option.get_envname();
  info.fallback = option.get_default_str();
  info.takes_value = option.get_items_expected_max() > 0;
  info.required = option.get_required();
  return info;
}

void add(const CLI::App& app, const std::string& name, std::vector<Command>* all) {
  Command command{name, app.get_description(), app.get_footer(), {}, {}};
  for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return !o->get_group().empty(); }))
    command.options.push_back(option_info(*option));
  const auto below = app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); });
  for (const CLI::App* verb : below) command.verbs.push_back(verb->get_name());
  all->push_back(std::move(command));
  for (const CLI::App* verb : below) add(*verb, (name.empty() ? "" : name + " ") + verb->get_name(), all);
}

}  // namespace

std::vector<Command> command_tree(const CLI::App& app) {
  std::vector<Command> all;
  add(app, "", &all);
  return all;
}

}  // namespace tephra::cli
