#include "coordinator/slot_history.h"

namespace tephra::coordinator {

bool record_tells_slots(const JobState& state) {
  if (state.slots_unix_ms == 0) return true;
  const bool once = state.slots_unix_ms == state.started_unix_ms && state.queued_unix_ms <= state.slots_unix_ms;
  return once && state.world_min == state.world_max && (holds_slots(state.phase) || is_final(state.phase));
}

std::vector<SlotStretch> slot_stretches(const JobState& state, int64_t now_unix_ms) {
  if (state.slots_unix_ms == 0) return {};
  return {{state.slots(), state.slots_unix_ms, is_final(state.phase) ? state.finished_unix_ms : now_unix_ms}};
}

std::vector<SlotStretch> slot_stretches(const JobState& state, const std::vector<JournaledEvent>& events,
                                        int64_t now_unix_ms) {
  std::vector<SlotStretch> stretches;
  SlotStretch open;  // of no slots: none is
  const auto close = [&](int64_t unix_ms) {
    open.to_unix_ms = unix_ms;
    if (open.slots > 0) stretches.push_back(open);
    open = {};
  };
  for (const JournaledEvent& event : events) {
    const int world = event.world_after > 0 ? event.world_after : state.world;
    const int slots = holds_slots(event.phase_after) ? world * state.threads_per_rank : 0;
    if (slots == open.slots) continue;
    close(event.unix_ms);
    open = {slots, event.unix_ms, 0};
  }
  close(now_unix_ms);
  return stretches;
}

}  // namespace tephra::coordinator
