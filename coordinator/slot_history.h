// What a job held of the machine in the past, from what the journal has of it: for the fair share of its user after a
// restart (UsageBook). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/job_state.h"
#include "coordinator/journal.h"

namespace tephra::coordinator {

// A time on the slots, by the wall clock.
struct SlotStretch {
  int slots = 0;
  int64_t from_unix_ms = 0, to_unix_ms = 0;
  bool operator==(const SlotStretch&) const = default;
};

// Whether the record alone tells: the job was on the slots once at the most, with one number of ranks.
bool record_tells_slots(const JobState& state);
// By the record. A job that still holds slots does so until `now_unix_ms`.
std::vector<SlotStretch> slot_stretches(const JobState& state, int64_t now_unix_ms);
// By the job's events, all of them, oldest first.
std::vector<SlotStretch> slot_stretches(const JobState& state, const std::vector<JournaledEvent>& events,
                                        int64_t now_unix_ms);

}  // namespace tephra::coordinator
