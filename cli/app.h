// The `tephra` command: each verb is one function that adds itself to the parser. Verbs return exit codes (design: stable):
// 0 ok; 1 the job or check failed; 2 usage or bad input; 3 environment or connection; 4 interrupted.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"

namespace CLI {
class App;
}

namespace tephra::cli {

enum ExitCode { kOk = 0, kFailed = 1, kBadInput = 2, kEnvironment = 3, kInterrupted = 4 };

ExitCode exit_code(const Status& status);
// Prints "tephra: sentence" on stderr and returns the code for it.
int fail(const Status& status);

// kNotFound, with what to do about it.
Status no_store(const std::string& folder);

// What every verb is given: where it leaves the function that runs it once the command line is parsed.
struct Verbs {
  CLI::App& app;
  std::function<int()> chosen;
};

void add_run(Verbs& verbs);          // run
void add_fork(Verbs& verbs);         // fork
void add_serve(Verbs& verbs);        // serve
void add_token(Verbs& verbs);        // token ...
void add_jobs(Verbs& verbs);         // submit ps show watch logs trace cancel pause resume report
void add_checkpoints(Verbs& verbs);  // ckpt ...
void add_store(Verbs& verbs);        // store ...
void add_inference(Verbs& verbs);    // score generate
void add_eval(Verbs& verbs);         // eval
void add_data(Verbs& verbs);         // data, tokenizer
void add_plan(Verbs& verbs);         // plan
void add_self(Verbs& verbs);         // completion man
void add_manifest(Verbs& verbs);     // manifest

int main(int argc, char** argv);

}  // namespace tephra::cli
