// Gangs on this machine by mpirun.
//
// mpirun gets its own session, so that a terminal's ^C or a signal to the coordinator's group does not reach it. It
// does not die with the coordinator (no PR_SET_PDEATHSIG): a restarted coordinator adopts the gang, and ranks that
// nobody takes back end by themselves. Its output goes to a file and not through a pipe for the same reason.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cluster/launcher.h"
#include "cluster/process_tree.h"

extern char** environ;

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kMarkerName[] = "TEPHRA_GANG";
constexpr seconds kKillTimeout{10};

std::string signal_words(int signal) {
  const char* words = strsignal(signal);
  return "signal " + std::to_string(signal) + (words ? " (" + std::string(words) + ")" : "");
}

// Number that follows `words` in `text`, the last time that they occur; -1 if they do not.
int number_after(const std::string& text, const std::string& words) {
  const size_t at = text.rfind(words);
  return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + words.size());
}

// What mpirun wrote about the end into the log after `offset`: it alone knows which rank it was.
std::string read_tail(const std::string& path, int64_t offset) {
  constexpr int64_t kTailBytes = 16384;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<int64_t>(file.tellg());
  const int64_t begin = std::max({offset, size - kTailBytes, int64_t{0}});
  if (begin >= size) return {};
  std::string text(static_cast<size_t>(size - begin), '\0');
  file.seekg(begin);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

ExitInfo describe_exit(int status, const std::string& tail, const std::string& log_path) {
  if (WIFSIGNALED(status)) {
    return {128 + WTERMSIG(status), WTERMSIG(status), "mpirun ended by " + signal_words(WTERMSIG(status))};
  }
  ExitInfo info;
  info.code = WEXITSTATUS(status);
  if (info.code == 0) return {0, 0, "all ranks ended with exit code 0"};
  const int lost = number_after(tail, "noticed that process rank ");
  const int failed = number_after(tail, ",1],");  // "Process name: [[60523,1],1]" of the exit-code report
  if (info.code > 128 && info.code < 128 + NSIG) {
    info.signal = info.code - 128;
    info.description =
        (lost >= 0 ? "rank " + std::to_string(lost) : std::string("a rank")) + " ended by " + signal_words(info.signal);
  } else if (tail.find("not enough slots") != std::string::npos) {
    info.description = "mpirun found too few slots for the ranks";
  } else if (tail.find("non-zero exit code") != std::string::npos && failed >= 0) {
    info.description = "rank " + std::to_string(failed) + " ended with exit code " + std::to_string(info.code);
  } else {
    // A rank's code or mpirun's own: its report, which tells them apart, is missing about one time in five.
    info.description = "a rank or mpirun ended with exit code " + std::to_string(info.code);
  }
  info.description += "; its output is in " + log_path;
  return info;
}

class LocalGang final : public Gang {
 public:
  // `ours`: the process is this one's child, whose exit status can be had.
  LocalGang(GangIdentity identity, int pidfd, bool ours, int64_t log_offset)
      : identity_(std::move(identity)), pidfd_(pidfd), ours_(ours), log_offset_(log_offset) {}
  ~LocalGang() override { close(pidfd_); }

  int64_t pid() const override { return identity_.pid; }
  GangIdentity identity() const override { return identity_; }

  std::optional<ExitInfo> poll() override {
    if (!exit_ && ended(milliseconds(0))) finish();
    return exit_;
  }

  Result<ExitInfo> wait(Deadline deadline) override {
    while (!exit_) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline.at - std::chrono::steady_clock::now());
      if (ended(std::clamp(left + milliseconds(1), milliseconds(0), milliseconds(60000)))) {
        finish();
      } else if (deadline.passed()) {
        return Status(Code::kTimeout, "the gang of mpirun " + std::to_string(identity_.pid) + " is still running");
      }
    }
    return *exit_;
  }

  Status terminate(milliseconds grace) override {
    if (!exit_) {
      syscall(SYS_pidfd_send_signal, pidfd_, SIGTERM, nullptr, 0);
      (void)wait(Deadline::after(grace));
    }
    return kill_hard();
  }

  Status kill_hard() override;

 private:
  bool ended(milliseconds timeout) {
    pollfd descriptor{pidfd_, POLLIN, 0};
    return ::poll(&descriptor, 1, static_cast<int>(timeout.count())) > 0;
  }
  // With the root only while it is the process that we mean.
  std::vector<ProcessInfo> members() const {
    const auto root = read_process(identity_.pid);
    const bool same = root && root->start_ticks == identity_.start_ticks;
    return find_processes(kMarkerName + ("=" + identity_.marker), same ? identity_.pid : 0);
  }
  void finish();

  const GangIdentity identity_;
  const int pidfd_;
  const bool ours_;
  const int64_t log_offset_;
  std::optional<ExitInfo> exit_;
};

void LocalGang::finish() {
  const std::string log = identity_.log_dir + "/gang.log";
  int status = 0;
  if (ours_ && waitpid(static_cast<pid_t>(identity_.pid), &status, 0) == identity_.pid) {
    exit_ = describe_exit(status, read_tail(log, log_offset_), log);
  } else {
    exit_ = ExitInfo{
        -1, 0,
        "the gang ended with an exit code that an earlier process alone could have seen; its output is in " + log};
  }
  // Ranks outlive an mpirun that was killed; they must not run beside the next attempt.
  for (const ProcessInfo& process : members()) kill_process(process);
}

Status LocalGang::kill_hard() {
  const Deadline deadline = Deadline::after(kKillTimeout);
  // mpirun last: when its ranks are gone it removes their shared memory and session folder, which nobody else would.
  bool spare_root = !exit_;
  for (;;) {
    const std::vector<ProcessInfo> left = members();
    if (left.empty()) break;
    const bool only_root = left.size() == 1 && left[0].pid == identity_.pid;
    for (const ProcessInfo& process : left) {
      if (!spare_root || process.pid != identity_.pid) kill_process(process);
    }
    if (spare_root && only_root) {
      ended(milliseconds(1000));
      spare_root = false;
      continue;
    }
    if (deadline.passed()) {
      return {Code::kTimeout, RetryClass::kNeedsOperator,
              "process " + std::to_string(left[0].pid) + " (" + left[0].name + ") of the gang does not die, state " +
                  std::string(1, left[0].state) + "; it is stuck in the kernel, look at its disks and devices"};
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
  return wait(deadline).status();
}

// --- starting

std::string find_program(const std::string& name) {
  auto runnable = [](const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos) return runnable(name) ? std::filesystem::absolute(name).string() : "";
  // Looked up as execvp would: PATH belongs to starting programs, not to our configuration.
  std::string_view path = getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin:/bin";
  while (!path.empty()) {
    const size_t end = std::min(path.find(':'), path.size());
    const std::string candidate = std::string(path.substr(0, end)) + "/" + name;
    if (end > 0 && runnable(candidate)) return candidate;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return "";
}

std::string random_marker() {
  unsigned char bytes[16];
  TEPHRA_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes), "getrandom gave too little");
  std::string text;
  for (unsigned char b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

Status check(const GangSpec& spec) {
  if (spec.command.empty()) return {Code::kInvalidArgument, "the gang has no command"};
  if (spec.ranks < 1)
    return {Code::kInvalidArgument, "a gang of " + std::to_string(spec.ranks) + " ranks makes no sense"};
  if (spec.log_dir.empty()) return {Code::kInvalidArgument, "the gang has no log_dir"};
  for (const auto& [name, value] : spec.environment) {
    if (name.empty() || name.find_first_of("=,") != std::string::npos) {
      return {Code::kInvalidArgument, "'" + name + "' is no name of an environment variable"};
    }
  }
  return {};
}

Status make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? errno_status(error.value(), "mkdir " + path) : Status();
}

class LocalLauncher final : public Launcher {
 public:
  explicit LocalLauncher(LocalLauncherOptions options) : options_(std::move(options)) {}
  Result<std::unique_ptr<Gang>> launch(const GangSpec& spec) override;
  Result<std::unique_ptr<Gang>> adopt(const GangIdentity& identity) override;

 private:
  std::vector<std::string> arguments(const GangSpec& spec, const std::string& program,
                                     const std::map<std::string, std::string>& exported) const;

  const LocalLauncherOptions options_;
};

std::vector<std::string> LocalLauncher::arguments(const GangSpec& spec, const std::string& program,
                                                  const std::map<std::string, std::string>& exported) const {
  std::vector<std::string> words = {options_.mpirun, "-n",        std::to_string(spec.ranks),
                                    "--tag-output",  "--bind-to", "none"};
  auto add = [&](std::initializer_list<const char*> more) { words.insert(words.end(), more.begin(), more.end()); };
  add({"--mca", "odls_base_sigkill_timeout",
       "0"});  // survivors of a lost rank are gone after 25 ms instead of a second
  // The coordinator decides how many ranks this machine takes; mpirun's own count of slots (cores) would refuse some of
  // its choices.
  add({"--oversubscribe"});
  const bool crowded = spec.ranks > static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (spec.oversubscribe || crowded) add({"--mca", "mpi_yield_when_idle", "1"});
  for (const auto& [name, value] : exported) {  // by name: values, among them secrets, stay off the command line
    words.push_back("-x");
    words.push_back(name);
  }
  words.insert(words.end(), options_.mpirun_arguments.begin(), options_.mpirun_arguments.end());
  words.push_back(program);
  words.insert(words.end(), spec.command.begin() + 1, spec.command.end());
  return words;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

// This process's environment with `changes` put over it.
std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!changes.contains(std::string(text.substr(0, text.find('='))))) merged.emplace_back(text);
  }
  for (const auto& [name, value] : changes) merged.push_back(name + "=" + value);
  return merged;
}

// posix_spawn, because fork in a process with threads leaves only async-signal-safe calls, and it does just those.
// Descriptors from 3 on are closed in the child whatever their flags: a RocksDB lock or a listening socket must not
// live on in a rank.
Result<pid_t> spawn(const std::string& path, std::vector<std::string> words, std::vector<std::string> environment,
                    int output, const std::string& directory) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, 1);
  posix_spawn_file_actions_adddup2(&files, output, 2);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  if (!directory.empty()) posix_spawn_file_actions_addchdir_np(&files, directory.c_str());

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);

  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, path.c_str(), &files, &attributes, pointers(words).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status(Code::kUnavailable, "starting " + path + ": " + std::strerror(error));
  return pid;
}

Result<std::unique_ptr<Gang>> LocalLauncher::launch(const GangSpec& spec) {
  TEPHRA_RETURN_IF_ERROR(check(spec));
  const std::string mpirun = find_program(options_.mpirun);
  if (mpirun.empty()) {
    const bool by_path = options_.mpirun.find('/') != std::string::npos;
    return Status(
        Code::kUnavailable, RetryClass::kNeedsOperator,
        (by_path ? "'" + options_.mpirun + "' is not a program" : options_.mpirun + " was not found in PATH") +
            "; install openmpi-bin (Debian) or set launcher.mpirun in the recipe");
  }
  const std::string program = find_program(spec.command[0]);
  if (program.empty()) {
    return Status(
        Code::kUnavailable, RetryClass::kNeedsOperator,
        "the ranks' program '" + spec.command[0] + "' was not found or cannot be run; check the installation");
  }
  TEPHRA_RETURN_IF_ERROR(make_directory(spec.log_dir));
  if (!spec.work_dir.empty()) TEPHRA_RETURN_IF_ERROR(make_directory(spec.work_dir));

  GangIdentity identity;
  identity.marker = random_marker();
  identity.log_dir = std::filesystem::absolute(spec.log_dir).string();
  const std::string log = identity.log_dir + "/gang.log";
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) return errno_status(errno, "open " + log);
  const int64_t log_offset = lseek(output, 0, SEEK_END);

  std::map<std::string, std::string> exported = spec.environment;
  exported.emplace("OMP_NUM_THREADS", std::to_string(spec.threads_per_rank));
  exported[kMarkerName] = identity.marker;
  std::map<std::string, std::string> changes = exported;
  if (geteuid() == 0) {  // mpirun refuses root otherwise
    changes["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
    changes["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  }
  Result<pid_t> pid =
      spawn(mpirun, arguments(spec, program, exported), merged_environment(changes), output, spec.work_dir);
  close(output);
  if (!pid.ok()) return pid.status();

  identity.pid = *pid;
  const auto info = read_process(*pid);  // at least a zombie: nobody else reaps it
  identity.start_ticks = info ? info->start_ticks : 0;
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, *pid, 0));
  if (pidfd < 0) {
    const int error = errno;
    kill(*pid, SIGKILL);
    waitpid(*pid, nullptr, 0);
    return errno_status(error, "pidfd_open (Linux 5.3 or newer is needed)");
  }
  return std::unique_ptr<Gang>(std::make_unique<LocalGang>(std::move(identity), pidfd, true, log_offset));
}

Result<std::unique_ptr<Gang>> LocalLauncher::adopt(const GangIdentity& identity) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, identity.pid, 0));
  const auto info = read_process(identity.pid);
  if (pidfd >= 0 && info && info->alive() && info->start_ticks == identity.start_ticks) {
    return std::unique_ptr<Gang>(std::make_unique<LocalGang>(identity, pidfd, false, 0));
  }
  if (pidfd >= 0) close(pidfd);
  for (const ProcessInfo& left : find_processes(kMarkerName + ("=" + identity.marker), 0)) kill_process(left);
  return Status(Code::kNotFound, "the gang of mpirun " + std::to_string(identity.pid) + " has ended");
}

}  // namespace

std::unique_ptr<Launcher> make_local_launcher(LocalLauncherOptions options) {
  return std::make_unique<LocalLauncher>(std::move(options));
}

}  // namespace tephra::cluster
