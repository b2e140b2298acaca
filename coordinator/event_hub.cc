#include "coordinator/event_hub.h"

#include <algorithm>
#include <cstdlib>

#include "coordinator/crypto.h"

namespace tephra::coordinator {

EventHub::EventHub(Coordinator& coordinator, size_t events_max, size_t bytes_max) : state_(std::make_shared<State>()) {
  state_->boot = random_hex(4);
  state_->events_max = events_max;
  state_->bytes_max = bytes_max;
  coordinator.subscribe("", [state = state_](const JobEvent& event) { take(*state, event); });
}

uint64_t EventHub::last() const {
  std::lock_guard lock(state_->mutex);
  return state_->last;
}

std::optional<uint64_t> EventHub::position(const std::string& id) const {
  const size_t dash = id.find('-');
  if (dash == std::string::npos || id.substr(0, dash) != state_->boot) return std::nullopt;
  const uint64_t sequence = std::strtoull(id.c_str() + dash + 1, nullptr, 10);
  std::lock_guard lock(state_->mutex);
  const uint64_t oldest = state_->kept.empty() ? state_->last + 1 : state_->kept.front().sequence;
  if (sequence > state_->last || sequence + 1 < oldest) return std::nullopt;
  return sequence;
}

bool EventHub::send(const Listener& listener, const Kept& event) {
  if (!listener.job.empty() && listener.job != event.job) return true;
  if (!listener.stream->write(event.text)) return false;
  if (!event.final || !listener.until_final) return true;
  listener.stream->close();
  return false;
}

void EventHub::take(State& state, const JobEvent& event) {
  Kept kept;
  kept.sequence = event.sequence;
  kept.job = event.job;
  kept.final = event.kind == JobEvent::Kind::kState && is_final(event.phase);
  kept.text = "event: " + std::string(kind_name(event.kind)) + "\nid: " + state.boot + "-" +
              std::to_string(event.sequence) + "\ndata: " + to_json(event) + "\n\n";
  std::lock_guard lock(state.mutex);
  state.last = event.sequence;
  std::erase_if(state.listeners, [&](const Listener& listener) { return !send(listener, kept); });
  state.bytes += kept.text.size();
  state.kept.push_back(std::move(kept));
  while (state.kept.size() > state.events_max || (state.bytes > state.bytes_max && state.kept.size() > 1)) {
    state.bytes -= state.kept.front().text.size();
    state.kept.pop_front();
  }
}

void EventHub::attach(const std::shared_ptr<cluster::HttpStream>& stream, const std::string& job, uint64_t sequence,
                      bool until_final) {
  const std::weak_ptr<State> weak = state_;
  {
    // What is kept and what comes are sent under one lock, so that each event is sent once and in order.
    std::lock_guard lock(state_->mutex);
    Listener listener{stream, job, until_final};
    for (const Kept& event : state_->kept)
      if (event.sequence > sequence && !send(listener, event)) return;
    state_->listeners.push_back(std::move(listener));
  }
  stream->on_closed([weak, gone = stream.get()] {
    const std::shared_ptr<State> state = weak.lock();
    if (state == nullptr) return;
    std::lock_guard lock(state->mutex);
    std::erase_if(state->listeners, [gone](const Listener& listener) { return listener.stream.get() == gone; });
  });
}

}  // namespace tephra::coordinator
