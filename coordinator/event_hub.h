// The newest events of all jobs, kept so that a client whose connection broke goes on where it was, and the streams that
// get them as they happen. An event's id is "BOOT-SEQUENCE": after a restart of the coordinator the ids of before are
// known not to be of this run. Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cluster/http/http_server.h"
#include "coordinator/coordinator.h"

namespace tephra::coordinator {

class EventHub {
 public:
  // Listens for as long as `coordinator` lives; the hub itself may go before it.
  explicit EventHub(Coordinator& coordinator, size_t events_max = 4096, size_t bytes_max = 8u << 20);

  uint64_t last() const;  // sequence of the newest event; 0: none yet
  // The sequence in an id that a client gives back; nothing when it is of another run, or newer events than that one
  // are no longer all kept.
  std::optional<uint64_t> position(const std::string& id) const;

  // Writes the job's (empty: every job's) events after `sequence` that are kept to `stream`, then each as it happens,
  // until the stream ends. With `until_final`, closes it after the event that ends the job.
  void attach(const std::shared_ptr<cluster::HttpStream>& stream, const std::string& job, uint64_t sequence,
              bool until_final);

 private:
  struct Kept {
    uint64_t sequence;
    std::string job;
    std::string text;  // as it is sent
    bool final;
  };
  struct Listener {
    std::shared_ptr<cluster::HttpStream> stream;
    std::string job;
    bool until_final;
  };
  struct State {
    std::string boot;
    size_t events_max, bytes_max;
    mutable std::mutex mutex;
    std::deque<Kept> kept;  // without gaps
    size_t bytes = 0;
    uint64_t last = 0;
    std::vector<Listener> listeners;
  };
  static void take(State& state, const JobEvent& event);
  static bool send(const Listener& listener, const Kept& event);  // false: the listener is done

  std::shared_ptr<State> state_;
};

}  // namespace tephra::coordinator
