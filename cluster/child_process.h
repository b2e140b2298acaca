// Starting other programs. Descriptors from 3 on are closed in the child whatever their flags: a RocksDB lock or a
// listening socket must not live on in it. Any thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace tephra::cluster {

// Absolute path of a program that can be run; `name` is a path when it has a '/', else looked up as execvp would. Empty:
// none.
std::string find_program(const std::string& name);

// This process's environment without the variables `withheld` and with `changes` put over it, as NAME=VALUE.
std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes,
                                            const std::vector<std::string>& withheld = {});

// A child in a session of its own, stdout and stderr both to the descriptor `output`, stdin empty. `directory` empty:
// this one's. The caller reaps it. kUnavailable.
Result<pid_t> spawn_session(const std::string& path, std::vector<std::string> words,
                            std::vector<std::string> environment, int output, const std::string& directory);

struct Captured {
  int code = 0;        // exit code; 128 + signal when a signal ended it
  std::string output;  // stdout and stderr together, at most 1 MiB
};
// Runs a program to its end with `input` (at most 32 KiB) as its stdin and merged_environment(environment, withheld).
// `words[0]` is looked up by find_program().
// kUnavailable: no such program. kTimeout: it was killed at the deadline.
Result<Captured> run_captured(std::vector<std::string> words, const std::map<std::string, std::string>& environment,
                              std::string_view input, Deadline deadline, const std::vector<std::string>& withheld = {});

}  // namespace tephra::cluster
