// Gangs as Slurm's batch jobs: sbatch, srun inside it, scontrol to look and scancel to end.
//
// A job is submitted with --no-requeue: one that Slurm queued and started again by itself would run the same attempt
// twice, past its number that fences it. What Slurm takes back (ExitInfo::withdrawn) is queued again by the coordinator,
// as a new attempt from the last checkpoint and a new job.
//
// The controller is asked by a thread of each gang, every few seconds, because poll() must not wait for it. The end is
// noticed at once by the file that the batch script leaves.
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "cluster/child_process.h"
#include "cluster/gang_start.h"
#include "cluster/launcher.h"
#include "cluster/mpirun_words.h"
#include "cluster/process_tree.h"
#include "cluster/slurm_script.h"
#include "cluster/slurm_words.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kCommandTimeout{20};  // Slurm's own is 10 s
constexpr seconds kKillTimeout{60};     // a site may let jobs live on for its KillWait of 30 s
constexpr milliseconds kLook{50};       // between looks for the batch script's file
constexpr seconds kSettleTimeout{3};    // for Slurm's word on a job whose ranks ended badly
constexpr int kForgottenLooks = 3;

Result<Captured> run_slurm(std::vector<std::string> words, const std::map<std::string, std::string>& environment = {},
                           const std::vector<std::string>& withheld = {}) {
  return run_captured(std::move(words), environment, "", Deadline::after(kCommandTimeout), withheld);
}

std::string text_of(const Result<Captured>& ran) { return ran.ok() ? ran->output : ran.status().message(); }

// kNotFound: Slurm does not know it (any more). kUnavailable: the controller does not answer.
Result<SlurmJob> ask(int64_t id) {
  const auto ran = run_slurm({"scontrol", "-o", "show", "job", std::to_string(id)});
  if (ran.ok() && ran->code == 0) return parse_slurm_job(ran->output);
  const std::string said = text_of(ran);
  if (said.find("Invalid job id") != std::string::npos)
    return Status(Code::kNotFound, "Slurm does not know job " + std::to_string(id));
  return Status(Code::kUnavailable, RetryClass::kRetryHere,
                "Slurm's controller does not answer: " + said.substr(0, 200));
}

class SlurmGang final : public Gang {
 public:
  // `waiting`: what notice() says until Slurm was asked.
  SlurmGang(GangIdentity identity, SlurmOptions options, int64_t log_offset, std::string waiting)
      : identity_(std::move(identity)), options_(std::move(options)), log_offset_(log_offset) {
    notice_.waiting = std::move(waiting);
    watch_ = std::thread([this] { watch(); });
  }
  ~SlurmGang() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    watch_.join();
  }

  int64_t pid() const override { return identity_.pid; }
  GangIdentity identity() const override { return identity_; }

  std::optional<ExitInfo> poll() override {
    std::lock_guard lock(mutex_);
    return exit_;
  }

  GangNotice notice() override {
    std::lock_guard lock(mutex_);
    return exit_ ? GangNotice{} : notice_;
  }

  Result<ExitInfo> wait(Deadline deadline) override {
    std::unique_lock lock(mutex_);
    const auto known = [&] { return exit_.has_value(); };
    if (deadline.at == SteadyTime::max()) {
      changed_.wait(lock, known);
    } else {
      changed_.wait_until(lock, deadline.at, known);
    }
    if (exit_) return *exit_;
    return Status(Code::kTimeout, "Slurm job " + id() + " has not ended");
  }

  Status terminate(milliseconds grace) override {
    if (!poll()) {
      (void)run_slurm({"scancel", "--quiet", id()});
      (void)wait(Deadline::after(grace));
    }
    return kill_hard();
  }

  Status kill_hard() override;

 private:
  std::string id() const { return std::to_string(identity_.pid); }
  std::string log() const { return identity_.log_dir + "/gang.log"; }
  void watch();
  bool rest(milliseconds time);
  bool look();
  bool take_in(const Result<SlurmJob>& job);
  SlurmJob settled();
  std::optional<int> written_code() const;
  void finish(const SlurmJob& job, int code);
  void finish(ExitInfo info);

  const GangIdentity identity_;
  const SlurmOptions options_;
  const int64_t log_offset_;
  const SteadyTime since_ = std::chrono::steady_clock::now();
  int forgotten_ = 0;               // watch thread
  std::atomic<bool> hurry_{false};  // it is being ended: the controller is asked at every look
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;  // guarded by mutex_, as what follows
  std::optional<ExitInfo> exit_;
  GangNotice notice_;
  std::thread watch_;  // last: it uses the rest
};

// Until the gang has ended: a look for the script's files every 50 ms, a question to the controller every few seconds.
void SlurmGang::watch() {
  SteadyTime next = std::chrono::steady_clock::now();
  for (;;) {
    if (look()) return;
    if (hurry_ || std::chrono::steady_clock::now() >= next) {
      if (take_in(ask(identity_.pid))) return;
      next = std::chrono::steady_clock::now() + options_.poll_every;
    }
    if (!rest(kLook)) return;
  }
}

bool SlurmGang::rest(milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return stop_ || exit_.has_value(); });
}

std::optional<int> SlurmGang::written_code() const {
  std::ifstream file(slurm_exit_path(identity_.log_dir, identity_.pid));
  int code = 0;
  return file >> code ? std::optional(code) : std::nullopt;
}

// True: the end is known.
bool SlurmGang::look() {
  if (const std::optional<int> code = written_code()) {
    finish(*code == 0 ? SlurmJob{identity_.pid, "COMPLETED"} : settled(), *code);
    return true;
  }
  std::error_code ignored;
  if (std::filesystem::exists(slurm_notice_path(identity_.log_dir, identity_.pid), ignored)) {
    std::lock_guard lock(mutex_);
    notice_.waiting.clear();
    notice_.ending = "Slurm takes the hosts of job " + id() + " back soon (time limit or preemption)";
  }
  return false;
}

// Whether the ranks ended by themselves or Slurm ended them is known once the job has left RUNNING; COMPLETING hides it.
SlurmJob SlurmGang::settled() {
  const Deadline deadline = Deadline::after(kSettleTimeout);
  for (;;) {
    const Result<SlurmJob> job = ask(identity_.pid);
    if (!job.ok() || job->ended() || deadline.passed()) return job.ok() ? *job : SlurmJob{identity_.pid, "FAILED"};
    if (!rest(milliseconds(100))) return *job;
  }
}

bool SlurmGang::take_in(const Result<SlurmJob>& job) {
  if (!job.ok()) {
    // A controller that was restarted may need a moment to know its jobs again.
    if (job.status().code() != Code::kNotFound || ++forgotten_ < kForgottenLooks) return false;
    finish(ExitInfo{-1, 0, "Slurm does not know job " + id() + " any more; its output is in " + log()});
    return true;
  }
  forgotten_ = 0;
  if (job->ended()) {
    finish(*job, written_code().value_or(-1));
    return true;
  }
  std::string waiting;
  const auto waited = std::chrono::duration_cast<seconds>(std::chrono::steady_clock::now() - since_);
  if (job->waits()) waiting = describe_waiting(*job);
  if (job->state == "SUSPENDED") waiting = "Slurm has suspended job " + id();
  if (job->waits() && options_.pending_max.count() > 0 && waited >= options_.pending_max) {
    (void)run_slurm({"scancel", "--quiet", id()});
    finish(ExitInfo{-1, 0,
                    waiting + ", for longer than the " + std::to_string(options_.pending_max.count()) +
                        " s that it may; it was cancelled"});
    return true;
  }
  std::lock_guard lock(mutex_);
  notice_.waiting = std::move(waiting);
  return false;
}

void SlurmGang::finish(const SlurmJob& job, int code) {
  finish(describe_slurm_exit(job, code, read_tail(log(), log_offset_), log()));
}

void SlurmGang::finish(ExitInfo info) {
  {
    std::lock_guard lock(mutex_);
    exit_ = std::move(info);
  }
  changed_.notify_all();
}

Status SlurmGang::kill_hard() {
  const Deadline deadline = Deadline::after(kKillTimeout);
  SteadyTime again = std::chrono::steady_clock::now();
  for (;;) {
    const Result<SlurmJob> job = ask(identity_.pid);
    if (!job.ok() && job.status().code() == Code::kNotFound) break;
    if (job.ok() && (job->ended() || job->comment != identity_.marker)) break;
    if (deadline.passed()) {
      if (!job.ok()) return {Code::kUnavailable, RetryClass::kNeedsOperator, job.status().message()};
      return {Code::kTimeout, RetryClass::kNeedsOperator,
              "Slurm job " + id() + " does not end, state " + job->state +
                  "; look at its hosts with scontrol show job " + id() + " and sinfo -R"};
    }
    if (job.ok() && std::chrono::steady_clock::now() >= again) {
      // The ranks' step alone takes SIGKILL at once: the whole job would get SIGTERM and the site's KillWait (30 s) first.
      if (!job->waits()) (void)run_slurm({"scancel", "--quiet", "--signal=KILL", id() + ".0"});
      (void)run_slurm({"scancel", "--quiet", id()});
      again = std::chrono::steady_clock::now() + seconds(2);
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
  // Of a host that is this machine: what left its step's process tree, which Slurm without cgroups does not find.
  for (const ProcessInfo& left : find_processes(marker_entry(identity_.marker), 0)) kill_process(left);
  hurry_ = true;
  (void)wait(deadline);
  return {};
}

class SlurmLauncher final : public Launcher {
 public:
  explicit SlurmLauncher(LauncherOptions options) : options_(std::move(options)) {}
  Result<std::unique_ptr<Gang>> launch(const GangSpec& spec) override;
  Result<std::unique_ptr<Gang>> adopt(const GangIdentity& identity) override;
  int slots() const override {
    const auto ran = run_slurm({"sinfo", "--noheader", "--format=%C"});
    return ran.ok() && ran->code == 0 ? parse_cpus(ran->output) : 0;
  }

 private:
  std::vector<std::string> arguments(const GangSpec& spec, const GangIdentity& identity) const;

  const LauncherOptions options_;
};

Status find_commands() {
  for (const char* name : {"sbatch", "scontrol", "scancel", "srun"}) {
    if (find_program(name).empty())
      return {Code::kUnavailable, RetryClass::kNeedsOperator,
              std::string(name) +
                  " was not found in PATH; install Slurm's commands (Debian: slurm-client), or start the "
                  "coordinator on a host of the cluster that has them"};
  }
  return {};
}

std::vector<std::string> SlurmLauncher::arguments(const GangSpec& spec, const GangIdentity& identity) const {
  std::vector<std::string> words = {"sbatch"};
  words.insert(words.end(), options_.slurm.sbatch_arguments.begin(), options_.slurm.sbatch_arguments.end());
  std::string log;  // '%' begins a pattern of Slurm's
  for (const char c : identity.log_dir + "/gang.log") log += c == '%' ? std::string("%%") : std::string(1, c);
  const std::vector<std::string> own = {
      "--parsable",
      "--no-requeue",
      "--export=ALL",
      "--job-name=" + (spec.name.empty() ? std::string("tephra") : "tephra-" + spec.name),
      "--comment=" + identity.marker,
      "--ntasks=" + std::to_string(spec.ranks),
      "--cpus-per-task=" + std::to_string(spec.threads_per_rank),
      "--output=" + log,
      "--error=" + log,
      "--open-mode=append",
      "--signal=B:USR1@" + std::to_string(options_.slurm.notice.count())};
  words.insert(words.end(), own.begin(), own.end());
  if (!spec.work_dir.empty()) words.push_back("--chdir=" + std::filesystem::absolute(spec.work_dir).string());
  words.push_back(identity.log_dir + "/slurm.sh");
  return words;
}

// What Open MPI's ranks read in place of mpirun's arguments.
void add_mpi_settings(const GangSpec& spec, const std::string& network,
                      std::map<std::string, std::string>* environment) {
  if (spec.oversubscribe) environment->emplace("OMPI_MCA_mpi_yield_when_idle", "1");
  if (!network.empty()) environment->emplace("OMPI_MCA_btl_tcp_if_include", network);
}

std::string partitions() {
  const auto ran = run_slurm({"sinfo", "--noheader", "--format=%R"});
  if (!ran.ok() || ran->code != 0) return "";
  std::string names = ran->output;
  while (!names.empty() && names.back() == '\n') names.pop_back();
  for (size_t at; (at = names.find('\n')) != std::string::npos;) names.replace(at, 1, ", ");
  return names;
}

Result<std::unique_ptr<Gang>> SlurmLauncher::launch(const GangSpec& spec) {
  TEPHRA_RETURN_IF_ERROR(find_commands());
  TEPHRA_ASSIGN_OR_RETURN(const std::string program, prepare_start(spec));
  GangIdentity identity;
  identity.launcher = "slurm";
  identity.marker = random_marker();
  identity.log_dir = std::filesystem::absolute(spec.log_dir).string();
  const std::string script = identity.log_dir + "/slurm.sh";
  if (!(std::ofstream(script) << slurm_script(spec, program, identity.log_dir, options_.slurm.mpi)).flush())
    return Status(Code::kIo, "writing " + script + " failed");
  std::error_code none;
  const auto size = std::filesystem::file_size(identity.log_dir + "/gang.log", none);
  const int64_t log_offset = none ? 0 : static_cast<int64_t>(size);

  // Values go to Slurm in sbatch's environment, which travels in its own messages: they are on no command line.
  std::map<std::string, std::string> environment = rank_environment(spec, identity.marker);
  add_mpi_settings(spec, options_.network, &environment);
  const auto ran = run_slurm(arguments(spec, identity), environment, options_.withheld);
  if (!ran.ok()) return ran.status().with_context("sbatch");
  if (ran->code != 0) return describe_refusal(ran->output, partitions());
  // "17" or "17;cluster", after warnings if there are any.
  std::string answer = ran->output;
  while (!answer.empty() && answer.back() == '\n') answer.pop_back();
  answer.erase(0, answer.rfind('\n') + 1);
  identity.pid = std::strtoll(answer.c_str(), nullptr, 10);
  if (identity.pid <= 0) return Status(Code::kInternal, "sbatch's answer is not understood: " + ran->output);
  std::string waiting = "Slurm job " + std::to_string(identity.pid) + " was just handed in";
  return std::unique_ptr<Gang>(
      std::make_unique<SlurmGang>(std::move(identity), options_.slurm, log_offset, std::move(waiting)));
}

Result<std::unique_ptr<Gang>> SlurmLauncher::adopt(const GangIdentity& identity) {
  TEPHRA_RETURN_IF_ERROR(find_commands());
  const Result<SlurmJob> job = ask(identity.pid);
  if (!job.ok() && job.status().code() != Code::kNotFound) return job.status();
  if (job.ok() && job->comment == identity.marker && !job->ended())
    return std::unique_ptr<Gang>(
        std::make_unique<SlurmGang>(identity, options_.slurm, 0, job->waits() ? describe_waiting(*job) : ""));
  for (const ProcessInfo& left : find_processes(marker_entry(identity.marker), 0)) kill_process(left);
  return Status(Code::kNotFound, "Slurm job " + std::to_string(identity.pid) + " has ended");
}

}  // namespace

Result<std::unique_ptr<Launcher>> make_slurm_launcher(const LauncherOptions& options) {
  TEPHRA_RETURN_IF_ERROR(find_commands());
  return std::unique_ptr<Launcher>(std::make_unique<SlurmLauncher>(options));
}

}  // namespace tephra::cluster
