// The machines of the hosts launcher: their file, who uses what of them, and the network between them.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace tephra::cluster {

struct HostSlots {
  std::string host;
  int slots = 1;
  bool operator==(const HostSlots&) const = default;
};

// Open MPI's host file: a host name or address a line, `slots=N` (1 when absent), '#' comments. `file` names it in
// messages. kInvalidArgument with file and line: an unknown word, a host twice, a name that a shell might misread; or no
// host at all.
Result<std::vector<HostSlots>> parse_hosts(const std::string& text, const std::string& file);
// The same from a file. kNotFound, kIo.
Result<std::vector<HostSlots>> read_hosts(const std::string& path);
std::string to_text(const std::vector<HostSlots>& hosts);

// Gives gangs their slots. Any thread.
class HostPool {
 public:
  explicit HostPool(std::vector<HostSlots> hosts, const Clock& clock = Clock::system())
      : hosts_(std::move(hosts)), clock_(clock) {}

  // Places for `ranks` ranks of `threads` slots each, in ranks: in the file's order, hosts that were lost last.
  // kUnavailable: not enough is free; kInvalidArgument: there is never enough.
  Result<std::vector<HostSlots>> take(int ranks, int threads);
  // What an adopted gang has, in ranks of `threads` slots; unknown hosts are ignored.
  void occupy(const std::vector<HostSlots>& places, int threads);
  void give_back(const std::vector<HostSlots>& places, int threads);
  void lost(const std::string& host);
  int slots() const;  // of all
  // Of those that were lost lately: ten minutes, twice as long each further time, a day at the most. So whoever gets by
  // without a lost host tries it again now and then.
  int lost_slots() const;

 private:
  const std::vector<HostSlots> hosts_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, int> used_;  // guarded by mutex_
  struct Loss {
    SteadyTime when{};
    int times = 0;
  };
  std::map<std::string, Loss> lost_;  // guarded by mutex_
};

// Numeric address of this machine on `network`, an interface ("eth0") or a CIDR block ("10.0.0.0/16", IPv4). kNotFound
// with what there is instead ("this machine has eth0 10.0.0.5, ..."), and for an empty name; kInvalidArgument.
Result<std::string> address_on(const std::string& network);

// Whether a name or address of a host file means this machine: its host name, localhost, or an IPv4 address of an
// interface. Asks no name server.
bool is_this_machine(const std::string& host);

// SIGKILL, on `host`, to every process that has the gang's marker in its environment or its command line (the remote
// daemon of mpirun), until none is left. kUnavailable: the host cannot be reached. kTimeout: something does not die.
Status kill_on_host(const std::vector<std::string>& remote_shell, const std::string& host, const std::string& marker,
                    Deadline deadline);

}  // namespace tephra::cluster
