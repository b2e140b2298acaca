#include "cluster/slurm_words.h"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sstream>

namespace tephra::cluster {
namespace {

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return word == w; });
}

// "CANCELLED" of "CANCELLED by 1000".
std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }

struct Advice {
  const char* begins;  // of the reason
  const char* words;
};
// In the order of trial; the first that the reason begins with counts.
constexpr Advice kWaiting[] = {
    {"Resources", "its hosts are busy"},
    {"Priority", "jobs of higher priority go first"},
    {"PartitionDown", "its partition is down; start it (scontrol update PartitionName=NAME State=UP) or name another"},
    {"PartitionInactive", "its partition is inactive; start it or name another"},
    {"Partition",
     "it asks for more than its partition has or allows; ask for fewer ranks, less time or another partition"},
    {"BadConstraints", "no host can ever give what it asks for; change sbatch's arguments or ask for fewer ranks"},
    {"Nodes_required", "hosts that it needs are down, drained or kept for others; sinfo -R says why"},
    {"ReqNodeNotAvail", "hosts that it needs are down, drained or reserved; sinfo -R says why"},
    {"NodeDown", "a host that it needs is down; sinfo -R says why"},
    {"JobHeld", "it is held; scontrol release lets it go"},
    {"launch_failed", "it could not be started on its hosts and is held; slurmd's log there says why"},
    {"BeginTime", "it may start later only"},
    {"InvalidAccount", "its account is not known; name another with --account"},
    {"InvalidQOS", "its quality of service is not known; name another with --qos"},
    {"QOS", "a limit of its quality of service is reached"},
    {"Assoc", "a limit of its account is reached"},
    {"Licenses", "it waits for licenses"},
    {"None", "Slurm has not looked at it yet"},
};

std::string waiting_words(const std::string& reason) {
  for (const Advice& advice : kWaiting)
    if (reason.rfind(advice.begins, 0) == 0) return advice.words;
  return "Slurm gives a reason of its own";
}

std::string signal_words(int signal) {
  const char* words = strsignal(signal);
  return "signal " + std::to_string(signal) + (words ? " (" + std::string(words) + ")" : "");
}

// "1" or "0-1": what stands between "task" or "tasks" and ':'.
std::string ranks_of(const std::string& tasks) {
  return (tasks.find_first_of("-,") == std::string::npos ? "rank " : "ranks ") + tasks;
}

// What srun said first of a rank that ended badly: "srun: error: HOST: task 1: Exited with exit code 7". The ranks' own
// lines begin with their tags and so cannot pass for it.
struct FirstEnd {
  std::string ranks, how;
};
FirstEnd first_end(const std::string& tail) {
  std::istringstream lines(tail);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("srun: error: ", 0) != 0) continue;
    const size_t task = line.find(": task");
    if (task == std::string::npos) continue;
    const size_t number = line.find(' ', task + 2), colon = line.find(": ", number);
    if (number == std::string::npos || colon == std::string::npos) continue;
    return {ranks_of(line.substr(number + 1, colon - number - 1)), line.substr(colon + 2)};
  }
  return {};
}

// srun's last word when no rank is to blame: a plugin that is not there, a step that could not be made.
std::string srun_error(const std::string& tail) {
  const size_t at = tail.rfind("srun: error: ");
  if (at == std::string::npos) return "";
  return tail.substr(at, tail.find('\n', at) - at);
}

// By the words that srun takes from strsignal(); "Segmentation fault (core dumped)". 0: no signal.
int signal_of(const std::string& how) {
  for (int signal = 1; signal < 32; ++signal) {
    const char* words = strsignal(signal);
    if (words != nullptr && how.rfind(words, 0) == 0) return signal;
  }
  return 0;
}

// This attempt's part of the log: from the line that the batch script begins with.
std::string own_part(const std::string& tail, int64_t job) {
  const size_t at = tail.rfind("tephra: Slurm job " + std::to_string(job) + " on ");
  return at == std::string::npos ? tail : tail.substr(at);
}

// What Slurm itself did to the job; empty: nothing.
std::string done_by_slurm(const SlurmJob& job, bool* withdrawn) {
  const std::string state = first_word(job.state);
  *withdrawn = is_one_of(state, {"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "REQUEUED"});
  if (state == "TIMEOUT") return "reached its time limit";
  if (state == "DEADLINE") return "reached its deadline";
  if (state == "PREEMPTED") return "made room for a job of higher priority";
  if (state == "NODE_FAIL") return "lost a host";
  if (state == "BOOT_FAIL") return "could not start because a host did not boot";
  if (state == "REQUEUED") return "was put back into the queue";
  if (state == "CANCELLED") return "was cancelled (scancel)";
  if (state == "OUT_OF_MEMORY") return "used more memory than Slurm gave it; ask for more with --mem-per-cpu";
  return "";
}

}  // namespace

bool SlurmJob::waits() const { return is_one_of(first_word(state), {"PENDING", "CONFIGURING", "REQUEUED"}); }

bool SlurmJob::ended() const {
  return is_one_of(first_word(state), {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL",
                                       "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"});
}

Result<SlurmJob> parse_slurm_job(const std::string& line) {
  SlurmJob job;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (key == "JobId") job.id = std::strtoll(value.c_str(), nullptr, 10);
    if (key == "JobState") job.state = value;
    if (key == "Reason") job.reason = value;
    if (key == "Comment") job.comment = value;
    if (key == "Partition") job.partition = value;
    if (key == "ExitCode") {
      job.exit_code = std::atoi(value.c_str());
      const size_t colon = value.find(':');
      if (colon != std::string::npos) job.exit_signal = std::atoi(value.c_str() + colon + 1);
    }
  }
  if (job.id <= 0 || job.state.empty())
    return Status(Code::kCorruption, "scontrol's answer is not understood: " + line.substr(0, 200));
  return job;
}

std::string describe_waiting(const SlurmJob& job) {
  const std::string name = "Slurm job " + std::to_string(job.id) + " waits";
  if (first_word(job.state) == "CONFIGURING") return name + " until its hosts are up";
  return name + ": " + waiting_words(job.reason) + " (" + job.reason + ")";
}

int parse_cpus(const std::string& output) {
  int sum = 0, allocated = 0, idle = 0, other = 0, total = 0;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);)
    if (std::sscanf(line.c_str(), " %d/%d/%d/%d", &allocated, &idle, &other, &total) == 4) sum += total;
  return sum;
}

ExitInfo describe_slurm_exit(const SlurmJob& job, int code, const std::string& tail, const std::string& log_path) {
  ExitInfo info;
  info.code = code >= 0 ? code : job.exit_signal > 0 ? 128 + job.exit_signal : job.exit_code;
  const std::string by_slurm = done_by_slurm(job, &info.withdrawn);
  const std::string name = "Slurm job " + std::to_string(job.id);
  const std::string own = own_part(tail, job.id);
  const FirstEnd first = first_end(own);
  if (!by_slurm.empty()) {
    if (info.code == 0) info.code = -1;  // it did not end by itself
    info.description = name + " " + by_slurm;
  } else if (info.code == 0) {
    return {0, 0, "all ranks ended with exit code 0"};
  } else if (constexpr const char* kExited = "Exited with exit code "; first.how.rfind(kExited, 0) == 0) {
    info.code = std::atoi(first.how.c_str() + std::strlen(kExited));
    info.description = first.ranks + " ended with exit code " + std::to_string(info.code);
  } else if (const int signal = signal_of(first.how); signal != 0) {
    info.signal = signal;
    info.code = 128 + signal;
    info.description = first.ranks + " ended by " + signal_words(signal);
  } else if (!first.how.empty()) {
    info.description = first.ranks + ": " + first.how;
  } else {
    const std::string error = srun_error(own);
    info.description = "srun ended with exit code " + std::to_string(info.code) + (error.empty() ? "" : ": " + error);
  }
  info.description += "; its output is in " + log_path;
  return info;
}

Status describe_refusal(const std::string& output, const std::string& partitions) {
  std::string said;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    constexpr const char* kError = "sbatch: error: ";
    if (line.rfind(kError, 0) == 0) line.erase(0, std::strlen(kError));
    if (!line.empty()) said += (said.empty() ? "" : "; ") + line;
  }
  if (controller_is_silent(output))
    return {Code::kUnavailable, RetryClass::kNewAttempt,
            "Slurm's controller does not answer; look at it with scontrol ping: " + said};
  const auto has = [&](const char* words) { return output.find(words) != std::string::npos; };
  std::string advice = "change the arguments of sbatch that the coordinator was started with";
  if (has("artition")) {
    advice = "name another partition (--sbatch-argument=--partition=NAME)";
    if (!partitions.empty()) advice += "; there are: " + partitions;
  }
  if (has("ccount")) advice = "name an account that you may use (--sbatch-argument=--account=NAME)";
  if (has("More processors") || has("node configuration") || has("Node count"))
    advice = "ask for fewer ranks or threads, or name another partition";
  return {Code::kUnavailable, RetryClass::kNeedsOperator, "Slurm refuses the job: " + said + "; " + advice};
}

bool controller_is_silent(const std::string& output) {
  return output.find("Unable to contact slurm controller") != std::string::npos ||
         output.find("Socket timed out") != std::string::npos || output.find("onnection refused") != std::string::npos;
}

}  // namespace tephra::cluster
