// Runs the real programs as a user does and looks at what they print, leave behind and leave running.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tephra::e2e {

struct Finished {
  int code = -1;  // exit code; 128 + signal when killed
  std::string out, err;
};

// A started program in a process group of its own. Killed with the object if it still runs.
class Process {
 public:
  Process(const std::vector<std::string>& command, const std::string& scratch,
          const std::map<std::string, std::string>& environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // Waits until `ready` holds (asked every few milliseconds while the program runs); false when the program ended or time ran out.
  bool wait_until(const std::function<bool()>& ready, std::chrono::seconds limit);
  // Kills it when it does not end in time; the code is then 128 + 9.
  Finished wait(std::chrono::seconds limit = std::chrono::seconds(240));
  std::string output() const;  // stdout so far

 private:
  bool ended();
  pid_t pid_ = -1;
  int code_ = -1;
  std::string out_path_, err_path_;
};

// A fresh folder, removed with everything in it at the end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const;  // the file's path

 private:
  std::string dir_;
};

Finished tephra(const Scratch& scratch, std::vector<std::string> arguments,
                const std::map<std::string, std::string>& environment = {});
std::vector<std::string> tephra_command(std::vector<std::string> arguments);

// Processes whose command line has `word`: the ranks of a job are found by the job folder or id in theirs.
std::vector<pid_t> processes_with(const std::string& word);
// Waits until there are none; false after ten seconds.
bool none_left(const std::string& word);

std::string read_text(const std::string& path);  // "" when there is no such file
// content_hash by checkpoint name, from `ckpt ls --json`.
std::map<std::string, std::string> content_hashes(const Scratch& scratch, const std::string& store);

}  // namespace tephra::e2e
