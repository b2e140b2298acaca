// Starts gangs: the ranks of one attempt, begun together and ended together. Implementations: local (mpirun on this
// machine), hosts (mpirun over a host file), slurm (a batch job whose step the ranks are). A gang outlives the process
// that launched it: a restarted coordinator adopts it by its identity, and the ranks end by themselves when no
// coordinator takes them back. So destroying a Gang object leaves the processes alone; end them with terminate() or
// kill_hard().
// Threading: a launcher's methods may be called from any thread; those of a Gang block for a short while and are called
// from one thread at a time for each object.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace tephra::cluster {

struct GangSpec {
  std::string name;                  // for people, shown by Slurm's own commands; empty: none
  std::vector<std::string> command;  // program and arguments of each rank; a program without '/' is looked up in PATH
  int ranks = 1;
  int threads_per_rank = 1;                        // exported as OMP_NUM_THREADS
  std::map<std::string, std::string> environment;  // added to this process's own; secrets belong here, not in `command`
  std::string log_dir;   // made when missing; the ranks' stdout and stderr are appended to LOG_DIR/gang.log, each line
                         // tagged with its rank
  std::string work_dir;  // current directory of the ranks; made when missing; empty: this process's
  bool oversubscribe = false;  // waiting ranks give up their core; chosen by itself when ranks > cores of this machine
};

struct ExitInfo {
  int code = 0;             // of the gang: 0 only when every rank ended with 0; -1 when not known (an adopted gang)
  int signal = 0;           // when a rank or the starter died by one; else 0
  std::string description;  // for people: "rank 1 ended by signal 9 (Killed)"; "a rank ..." when mpirun
                            // did not say which, which happens
  // Slurm took the hosts back (preemption, time limit, a node that failed): not the ranks' doing.
  bool withdrawn = false;
};

// What happens to a gang that has not ended.
struct GangNotice {
  std::string waiting;  // the ranks do not run yet and why, in words; empty: they run
  std::string ending;   // the hosts will be taken back soon and why; a checkpoint should be written now; empty: no
};

// Enough to find the gang again from another process; survives this one. Never matches a later process with the same
// pid.
struct GangIdentity {
  int64_t pid = 0;                 // of mpirun; of slurm: the job's number
  uint64_t start_ticks = 0;        // of mpirun: its start time in /proc, clock ticks since boot
  std::string marker;              // unique value of TEPHRA_GANG in the environment of every process of the gang
  std::string log_dir;             // of the GangSpec
  std::string launcher = "local";  // that started it: local | hosts | slurm
};

class Gang {
 public:
  virtual ~Gang() = default;
  virtual int64_t pid() const = 0;  // GangIdentity::pid
  virtual GangIdentity identity() const = 0;
  // The end of the gang, once known (what is left of it is then killed); does not block.
  virtual std::optional<ExitInfo> poll() = 0;
  // What the machines' own scheduler says of a gang that has not ended; does not block. Only slurm has anything to say.
  virtual GangNotice notice() { return {}; }
  // Waits for the end. kTimeout: still running.
  virtual Result<ExitInfo> wait(Deadline deadline) = 0;
  // SIGTERM to mpirun, which ends the ranks; after `grace` kill_hard(). Ranks get no time to finish a
  // step: that is the Stop message's work. Blocks until the gang has ended.
  virtual Status terminate(std::chrono::milliseconds grace) = 0;
  // SIGKILL to every process of the gang, found by its marker and by descent, until none is left; over hosts, on each
  // of them through the remote shell; with slurm, by Slurm. kTimeout: some process would not die within 10 s, a minute
  // with slurm (stuck in the kernel); the message names it. kUnavailable: a host or Slurm's controller cannot be
  // reached, so that what runs there is not known; the ranks end by themselves when their connection to the coordinator
  // breaks.
  virtual Status kill_hard() = 0;
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  // kUnavailable: no mpirun, the program cannot be started, too few slots of the hosts are free, or Slurm refuses the
  // job; kInvalidArgument: a spec that makes no sense, or wants more than the hosts have.
  virtual Result<std::unique_ptr<Gang>> launch(const GangSpec& spec) = 0;
  // A gang that an earlier process launched. kNotFound: it has ended (with what is left of it killed).
  virtual Result<std::unique_ptr<Gang>> adopt(const GangIdentity& identity) = 0;
  // Compute threads that gangs may use together; 0: not known. Asks Slurm, so it may block for seconds.
  virtual int slots() const = 0;
  // Of slots(), those on hosts that were lost and have not come back. Only hosts knows of any. Does not block.
  virtual int lost_slots() const { return 0; }
};

struct SlurmOptions {
  // Of sbatch, put before the launcher's own: "--partition=gpu", "--time=4:00:00", "--gpus-per-task=1".
  std::vector<std::string> sbatch_arguments{};
  std::string mpi = "pmix";                    // srun's --mpi
  std::chrono::seconds notice{120};            // before the time limit, when GangNotice::ending is set
  std::chrono::seconds pending_max{0};         // a job that waits longer is cancelled and the gang ends; 0: for ever
  std::chrono::milliseconds poll_every{2000};  // between questions to Slurm's controller, a gang
};

// What belongs to the machine and to who runs the coordinator, never to a recipe: programs and where they reach.
struct LauncherOptions {
  std::string mpirun = "mpirun";                // name in PATH, or a path
  std::vector<std::string> mpirun_arguments{};  // put before the program
  std::string hosts_file{};                     // of the hosts launcher; empty: none
  // Remote shell of the hosts launcher, with its own arguments; runs `AGENT HOST COMMAND...`.
  std::vector<std::string> remote_shell = {"ssh", "-x", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"};
  // Variables of this process's environment that gangs do not get: keys and tokens that are no business of ranks.
  std::vector<std::string> withheld{};
  std::string network{};  // interface or CIDR block that ranks on several hosts use: "eth0", "10.0.0.0/16"; empty: any
  SlurmOptions slurm{};
};

// By its name: local | hosts | slurm. kInvalidArgument: another name; or as below.
Result<std::unique_ptr<Launcher>> make_launcher(const std::string& kind, const LauncherOptions& options);
std::unique_ptr<Launcher> make_local_launcher(const LauncherOptions& options = {});
// Gangs over the hosts of options.hosts_file, each rank on as many of its host's slots as it has threads. Keeps account of
// what its own gangs use; hosts that were lost come last. kInvalidArgument with file and line, kNotFound.
Result<std::unique_ptr<Launcher>> make_hosts_launcher(const LauncherOptions& options);
// Gangs as Slurm's batch jobs. kUnavailable: a command of Slurm's is not in PATH.
Result<std::unique_ptr<Launcher>> make_slurm_launcher(const LauncherOptions& options);

}  // namespace tephra::cluster
