// A coordinator that runs jobs of fake ranks, and what comes of them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "coordinator/coordinator.h"
#include "storage/index/store.h"
#include "victim.h"

namespace tephra::coordinator {

inline std::unique_ptr<Coordinator> start(const std::string& store, int slots = 2) {
  Options options = make_options(store);
  options.slots = slots;
  auto coordinator = Coordinator::start(options);
  EXPECT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  return coordinator.ok() ? std::move(coordinator).value() : nullptr;
}

// Waits for the job's end.
inline JobState ended(Coordinator& coordinator, const std::string& job) {
  const Result<JobState> state = coordinator.wait(job, Deadline::after(std::chrono::seconds(60)));
  EXPECT_TRUE(state.ok()) << state.status().to_string();
  return state.ok() ? *state : JobState{};
}

inline std::string content_of(Coordinator& coordinator, const std::string& checkpoint) {
  const Result<storage::Manifest> manifest = coordinator.store().get(checkpoint);
  EXPECT_TRUE(manifest.ok()) << manifest.status().to_string();
  return manifest.ok() ? manifest->content_hash.hex() : "";
}

}  // namespace tephra::coordinator
