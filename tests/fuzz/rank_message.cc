// Any bytes are refused as a rank's or the coordinator's message, or are one that encodes again and reads back the same
// kind. Both directions see the same bytes: a number is of one of them only.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cluster/messages_codec.h"

namespace {

using namespace tephra::cluster;

template <class Message>
void check(const tephra::Result<Message>& first, tephra::Result<Message> (*decode)(std::string_view)) {
  if (!first.ok()) {
    if (first.status().code() != tephra::Code::kCorruption || first.status().message().empty()) std::abort();
    return;
  }
  const auto bytes = encode(*first);
  if (!bytes.ok()) std::abort();  // what is taken in can be said
  const auto second = decode(*bytes);
  if (!second.ok() || second->index() != first->index()) std::abort();
  if (*encode(*second) != *bytes) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto from_rank = decode_rank_message(text);
  const auto from_coordinator = decode_coordinator_message(text);
  if (from_rank.ok() && from_coordinator.ok()) std::abort();
  check(from_rank, decode_rank_message);
  check(from_coordinator, decode_coordinator_message);
  return 0;
}
