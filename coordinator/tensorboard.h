// Scalars as TensorBoard event files. The container is TensorFlow's TFRecord (length, masked CRC-32C, bytes, masked
// CRC-32C) and each record an Event message of event.proto; only the few fields that scalars need are written, so no
// TensorFlow is needed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tephra::coordinator {

using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value

// One record: framed bytes of an Event that holds `scalars` at `step`. Pure.
std::string event_record(double wall_seconds, int64_t step, const Scalars& scalars);
// The record that every event file starts with (its version).
std::string first_event_record(double wall_seconds);

// Appends the scalars to DIRECTORY/events.out.tfevents.<suffix>, made with its first record when it is not there.
// Blocks on disk; not synced: the numbers are in metrics.jsonl too.
Status append_scalars(const std::string& directory, const std::string& suffix, double wall_seconds, int64_t step,
                      const Scalars& scalars);

uint32_t crc32c(std::string_view bytes);  // Castagnoli

}  // namespace tephra::coordinator
