#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/version.h"

namespace tephra::cli {
namespace {

// The verb that the command line had come to when it was found wrong.
const CLI::App& reached(const CLI::App& app) {
  const CLI::App* at = &app;
  for (auto below = at->get_subcommands(); !below.empty(); below = at->get_subcommands()) at = below.back();
  return *at;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& names) {
  const std::string nearest = nearest_name(word, names);
  return nearest.empty() ? "" : "; did you mean " + nearest + "?";
}

std::string wrong_verb(const CLI::App& at, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* verb : at.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return "there is no verb '" + word + "'" + did_you_mean(word, names);
}

std::string wrong_option(const CLI::App& at, const std::string& word) {
  if (!word.starts_with('-')) return "'" + word + "' is one word too many";
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const CLI::Option* option : at.get_options())
    for (const std::string& known : option->get_lnames()) names.push_back("--" + known);
  return "there is no option " + name + did_you_mean(name, names);
}

// One sentence with the cause and what to do, where the parser's own says half of it on two lines.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& at = reached(app);
  std::string verb = "tephra", message = error.what();
  for (const CLI::App* above = &app; above != &at;) {
    above = above->get_subcommands().back();
    verb += " " + above->get_name();
  }
  const std::vector<std::string> rest = at.remaining();
  const bool wants_verb = !at.get_subcommands([](const CLI::App*) { return true; }).empty();
  if (!rest.empty())
    message = wants_verb && !rest[0].starts_with('-') ? wrong_verb(at, rest[0]) : wrong_option(at, rest[0]);
  else if (message == "A subcommand is required")
    message = "a verb is missing";
  return verb + ": " + message + (message.ends_with('?') ? " " : "; ") + verb + " --help shows what there is";
}

}  // namespace

ExitCode exit_code(const Status& status) {
  switch (status.code()) {
    case Code::kOk: return kOk;
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kUnsupported: return kBadInput;
    case Code::kIo:
    case Code::kNoSpace:
    case Code::kPermission:
    case Code::kBusy:
    case Code::kUnavailable:
    case Code::kPeerLost:
    case Code::kTimeout: return kEnvironment;
    case Code::kCancelled: return kInterrupted;
    default: return kFailed;
  }
}

int fail(const Status& status) {
  std::fprintf(stderr, "tephra: %s\n", status.message().c_str());
  return exit_code(status);
}

Status no_store(const std::string& folder) {
  return {Code::kNotFound,
          "there is no store in " + folder + "; name another with --store, or run a recipe, which makes it"};
}

int main(int argc, char** argv) {
  CLI::App app("Tephra trains LLaVA-style vision-language models and keeps their checkpoints");
  app.set_version_flag("--version", "tephra " + std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  tephra run recipes/demo.yaml --store tephra-store\n\nExit codes: 0 ok; 1 the job or check failed; 2 usage or bad "
      "input; 3 environment or connection; 4 interrupted.");
  Verbs verbs{app, {}};
  add_run(verbs);
  add_fork(verbs);
  add_serve(verbs);
  add_token(verbs);
  add_jobs(verbs);
  add_checkpoints(verbs);
  add_store(verbs);
  add_inference(verbs);
  add_eval(verbs);
  add_data(verbs);
  add_plan(verbs);
  add_self(verbs);
  add_manifest(verbs);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e), kOk;  // --help, --version
    std::fprintf(stderr, "%s\n", usage_error(app, e).c_str());
    return kBadInput;
  }
  return verbs.chosen();
}

}  // namespace tephra::cli
