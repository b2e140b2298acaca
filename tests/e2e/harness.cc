#include "tests/e2e/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace tephra::e2e {
namespace {
std::atomic<int> g_counter{0};
constexpr auto kPoll = std::chrono::milliseconds(5);
}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Process::Process(const std::vector<std::string>& command, const std::string& scratch,
                 const std::map<std::string, std::string>& environment) {
  std::string stem = scratch + "/process" + std::to_string(g_counter++);
  out_path_ = stem + ".out";
  err_path_ = stem + ".err";
  std::vector<std::string> copy = command, variables;
  std::vector<char*> argv, envp;
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);
  for (char** e = environ; *e != nullptr; ++e) {
    std::string pair = *e;
    if (!environment.contains(pair.substr(0, pair.find('=')))) variables.push_back(pair);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  for (std::string& v : variables) envp.push_back(v.data());
  envp.push_back(nullptr);
  int out = open(out_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int err = open(err_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(out, 1);
    dup2(err, 2);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  close(out);
  close(err);
}

Process::~Process() {
  if (!ended()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

void Process::signal(int number) const { kill(pid_, number); }

bool Process::ended() {
  if (code_ >= 0) return true;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool Process::wait_until(const std::function<bool()>& ready, std::chrono::seconds limit) {
  auto give_up = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < give_up) {
    if (ready()) return true;
    if (ended()) return ready();
    std::this_thread::sleep_for(kPoll);
  }
  return false;
}

Finished Process::wait(std::chrono::seconds limit) {
  if (!wait_until([this] { return ended(); }, limit)) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    code_ = 128 + SIGKILL;
  }
  return {code_, read_text(out_path_), read_text(err_path_)};
}

std::string Process::output() const { return read_text(out_path_); }

Scratch::Scratch() {
  std::string pattern = std::filesystem::temp_directory_path() / "tephra-e2e-XXXXXX";
  dir_ = mkdtemp(pattern.data());
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string Scratch::write(const std::string& name, const std::string& text) const {
  std::ofstream(path(name), std::ios::binary) << text;
  return path(name);
}

std::vector<std::string> tephra_command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), std::string(TEPHRA_BIN_DIR) + "/tephra");
  return arguments;
}

Finished tephra(const Scratch& scratch, std::vector<std::string> arguments,
                const std::map<std::string, std::string>& environment) {
  return Process(tephra_command(std::move(arguments)), scratch.path(""), environment).wait();
}

std::vector<pid_t> processes_with(const std::string& word) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  while (dirent* entry = readdir(proc)) {
    pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == getpid()) continue;
    if (read_text("/proc/" + std::string(entry->d_name) + "/cmdline").find(word) != std::string::npos)
      found.push_back(pid);
  }
  closedir(proc);
  return found;
}

bool none_left(const std::string& word) {
  auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!processes_with(word).empty()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

std::map<std::string, std::string> content_hashes(const Scratch& scratch, const std::string& store) {
  Finished ls = tephra(scratch, {"ckpt", "ls", "--store", store, "--json"});
  std::map<std::string, std::string> hashes;
  auto document = nlohmann::json::parse(ls.out, nullptr, false);
  if (document.is_array())
    for (const auto& c : document) hashes[c.value("name", "")] = c.value("content_hash", "");
  return hashes;
}

}  // namespace tephra::e2e
