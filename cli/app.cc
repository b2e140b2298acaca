#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/version.h"

namespace tephra::cli {

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
    return app.exit(e) == 0 ? kOk : kBadInput;
  }
  return verbs.chosen();
}

}  // namespace tephra::cli
