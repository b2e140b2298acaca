// Gangs by mpirun, on this machine or over the hosts of a host file.
//
// mpirun gets its own session, so that a terminal's ^C or a signal to the coordinator's group does not reach it. It
// does not die with the coordinator (no PR_SET_PDEATHSIG): a restarted coordinator adopts the gang, and ranks that
// nobody takes back end by themselves. Its output goes to a file and not through a pipe for the same reason.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cluster/child_process.h"
#include "cluster/gang_start.h"
#include "cluster/hosts.h"
#include "cluster/launcher.h"
#include "cluster/mpirun_words.h"
#include "cluster/process_tree.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kKillTimeout{10};
constexpr seconds kRemoteKillTimeout{20};  // the remote shell's own time-out for a dead host is 10 s

// What a gang has of the host pool; given back once nothing of it is left, or with the object.
struct Places {
  std::shared_ptr<HostPool> pool;
  std::vector<HostSlots> hosts;  // in ranks
  int threads = 1;
  std::vector<std::string> remote_shell;

  Places() = default;
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;
  ~Places() { give_back(); }
  void give_back() {
    if (pool) pool->give_back(hosts, threads);
    pool = nullptr;
  }
};

class MpirunGang final : public Gang {
 public:
  // `ours`: the process is this one's child, whose exit status can be had. `places`: null on this machine only.
  MpirunGang(GangIdentity identity, int pidfd, bool ours, int64_t log_offset, std::unique_ptr<Places> places)
      : identity_(std::move(identity)),
        pidfd_(pidfd),
        ours_(ours),
        log_offset_(log_offset),
        places_(std::move(places)) {}
  ~MpirunGang() override { close(pidfd_); }

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
    return find_processes(marker_entry(identity_.marker), same ? identity_.pid : 0);
  }
  void finish();

  const GangIdentity identity_;
  const int pidfd_;
  const bool ours_;
  const int64_t log_offset_;
  const std::unique_ptr<Places> places_;
  std::optional<ExitInfo> exit_;
};

// On all of them at once: one that does not answer must not keep the others waiting.
Status kill_on_hosts(const Places& places, const std::string& marker, Deadline deadline) {
  std::vector<Status> results(places.hosts.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < places.hosts.size(); ++i) {
    if (is_this_machine(places.hosts[i].host)) continue;  // done already, and it may not have a remote shell to itself
    threads.emplace_back(
        [&, i] { results[i] = kill_on_host(places.remote_shell, places.hosts[i].host, marker, deadline); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) continue;
    if (places.pool) places.pool->lost(places.hosts[i].host);
    return results[i];
  }
  return {};
}

void MpirunGang::finish() {
  const std::string log = identity_.log_dir + "/gang.log";
  int status = 0;
  if (ours_ && waitpid(static_cast<pid_t>(identity_.pid), &status, 0) == identity_.pid) {
    exit_ = describe_mpirun_exit(status, read_tail(log, log_offset_), log);
  } else {
    exit_ = ExitInfo{
        -1, 0,
        "the gang ended; its exit code is not known, since an earlier process started it; its output is in " + log};
  }
  // Ranks outlive an mpirun that was killed; they must not run beside the next attempt.
  for (const ProcessInfo& process : members()) kill_process(process);
  if (places_ == nullptr || exit_->code == 0) return;
  const std::string lost = lost_host(read_tail(log, log_offset_));
  if (!lost.empty() && places_->pool) places_->pool->lost(lost);
}

Status MpirunGang::kill_hard() {
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
  TEPHRA_RETURN_IF_ERROR(wait(deadline).status());
  // Only now: mpirun's daemons on the hosts end by themselves with it, most of the time.
  if (places_ == nullptr) return {};
  Status killed = kill_on_hosts(*places_, identity_.marker, Deadline::after(kRemoteKillTimeout));
  places_->give_back();  // also of a host that cannot be asked, which is known as lost
  return killed;
}

// --- starting

class MpirunLauncher final : public Launcher {
 public:
  // `pool`: the hosts; null for this machine only.
  MpirunLauncher(LauncherOptions options, std::shared_ptr<HostPool> pool)
      : options_(std::move(options)), pool_(std::move(pool)) {}
  Result<std::unique_ptr<Gang>> launch(const GangSpec& spec) override;
  Result<std::unique_ptr<Gang>> adopt(const GangIdentity& identity) override;
  int slots() const override {
    return pool_ ? pool_->slots() : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  int lost_slots() const override { return pool_ ? pool_->lost_slots() : 0; }

 private:
  std::vector<std::string> arguments(const GangSpec& spec, const std::string& program,
                                     const std::map<std::string, std::string>& exported,
                                     const GangIdentity& identity) const;
  std::vector<std::string> host_arguments(const GangIdentity& identity) const;

  const LauncherOptions options_;
  const std::shared_ptr<HostPool> pool_;
};

// The gang's own host file, which an adopting process reads too.
std::string hosts_path(const GangIdentity& identity) { return identity.log_dir + "/hosts"; }

// Its first line, a comment: what a slot of it is.
constexpr char kThreadsNote[] = "# a slot is a rank; threads of a rank: ";

int threads_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  if (line.rfind(kThreadsNote, 0) != 0) return 1;
  return std::max(1, std::atoi(line.c_str() + std::strlen(kThreadsNote)));
}

std::vector<std::string> MpirunLauncher::host_arguments(const GangIdentity& identity) const {
  std::string shell;
  for (const std::string& word : options_.remote_shell) shell += (shell.empty() ? "" : " ") + word;
  std::vector<std::string> words = {"--hostfile", hosts_path(identity), "--map-by", "slot"};
  auto mca = [&](const char* name, const std::string& value) { words.insert(words.end(), {"--mca", name, value}); };
  mca("plm_rsh_agent", shell);
  mca("plm_rsh_no_tree_spawn", "1");  // this machine reaches every host; the hosts need not reach each other so
  // A host that vanished without a word is noticed after 25 s, as on the coordinator's own connections; the default is
  // eight minutes.
  mca("oob_tcp_keepalive_time", "10");
  mca("oob_tcp_keepalive_intvl", "5");
  mca("oob_tcp_keepalive_probes", "3");
  if (!options_.network.empty()) {
    mca("oob_tcp_if_include", options_.network);
    mca("btl_tcp_if_include", options_.network);
  }
  // No parameter of Open MPI's: mpirun hands it on to its daemons' command lines, by which they are found.
  mca("tephra_gang", identity.marker);
  return words;
}

std::vector<std::string> MpirunLauncher::arguments(const GangSpec& spec, const std::string& program,
                                                   const std::map<std::string, std::string>& exported,
                                                   const GangIdentity& identity) const {
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
  if (pool_) {
    const std::vector<std::string> more = host_arguments(identity);
    words.insert(words.end(), more.begin(), more.end());
  }
  words.insert(words.end(), options_.mpirun_arguments.begin(), options_.mpirun_arguments.end());
  words.push_back(program);
  words.insert(words.end(), spec.command.begin() + 1, spec.command.end());
  return words;
}

Result<std::unique_ptr<Gang>> MpirunLauncher::launch(const GangSpec& spec) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string program, prepare_start(spec));
  const std::string mpirun = find_program(options_.mpirun);
  if (mpirun.empty()) {
    const bool by_path = options_.mpirun.find('/') != std::string::npos;
    return Status(
        Code::kUnavailable, RetryClass::kNeedsOperator,
        (by_path ? "'" + options_.mpirun + "' is not a program" : options_.mpirun + " was not found in PATH") +
            "; install openmpi-bin (Debian) or set launcher.mpirun in the recipe");
  }
  auto places = std::make_unique<Places>();
  if (pool_) {
    TEPHRA_ASSIGN_OR_RETURN(places->hosts, pool_->take(spec.ranks, spec.threads_per_rank));
    places->pool = pool_;
    places->threads = spec.threads_per_rank;
    places->remote_shell = options_.remote_shell;
  }

  GangIdentity identity;
  identity.launcher = pool_ ? "hosts" : "local";
  identity.marker = random_marker();
  identity.log_dir = std::filesystem::absolute(spec.log_dir).string();
  if (pool_) {
    std::ofstream file(hosts_path(identity));
    file << kThreadsNote << spec.threads_per_rank << "\n";
    if (!(file << to_text(places->hosts)).flush())
      return Status(Code::kIo, "writing " + hosts_path(identity) + " failed");
  }
  const std::string log = identity.log_dir + "/gang.log";
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) return errno_status(errno, "open " + log);
  const int64_t log_offset = lseek(output, 0, SEEK_END);

  const std::map<std::string, std::string> exported = rank_environment(spec, identity.marker);
  std::map<std::string, std::string> changes = exported;
  if (geteuid() == 0) {  // mpirun refuses root otherwise
    changes["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
    changes["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  }
  Result<pid_t> pid = spawn_session(mpirun, arguments(spec, program, exported, identity),
                                    merged_environment(changes, options_.withheld), output, spec.work_dir);
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
  return std::unique_ptr<Gang>(
      std::make_unique<MpirunGang>(std::move(identity), pidfd, true, log_offset, pool_ ? std::move(places) : nullptr));
}

Result<std::unique_ptr<Gang>> MpirunLauncher::adopt(const GangIdentity& identity) {
  std::unique_ptr<Places> places;
  if (pool_) {
    places = std::make_unique<Places>();
    TEPHRA_ASSIGN_OR_RETURN(places->hosts, read_hosts(hosts_path(identity)));
    places->remote_shell = options_.remote_shell;
  }
  const auto hold_slots = [&] {  // given back when the gang's object goes
    places->threads = threads_of(hosts_path(identity));
    places->pool = pool_;
    pool_->occupy(places->hosts, places->threads);
  };
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, identity.pid, 0));
  const auto info = read_process(identity.pid);
  if (pidfd >= 0 && info && info->alive() && info->start_ticks == identity.start_ticks) {
    if (places) hold_slots();
    return std::unique_ptr<Gang>(std::make_unique<MpirunGang>(identity, pidfd, false, 0, std::move(places)));
  }
  if (pidfd >= 0) close(pidfd);
  for (const ProcessInfo& left : find_processes(marker_entry(identity.marker), 0)) kill_process(left);
  if (places) TEPHRA_RETURN_IF_ERROR(kill_on_hosts(*places, identity.marker, Deadline::after(kRemoteKillTimeout)));
  return Status(Code::kNotFound, "the gang of mpirun " + std::to_string(identity.pid) + " has ended");
}

}  // namespace

std::unique_ptr<Launcher> make_local_launcher(const LauncherOptions& options) {
  return std::make_unique<MpirunLauncher>(options, nullptr);
}

Result<std::unique_ptr<Launcher>> make_hosts_launcher(const LauncherOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(std::vector<HostSlots> hosts, read_hosts(options.hosts_file));
  return std::unique_ptr<Launcher>(
      std::make_unique<MpirunLauncher>(options, std::make_shared<HostPool>(std::move(hosts))));
}

}  // namespace tephra::cluster
