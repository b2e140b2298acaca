// Messages to and from the bytes of one protobuf Envelope (cluster/messages.proto), without the frame around it.
// encode: kInvalidArgument when the result would pass kMessageBytesMax or a text field is not UTF-8.
// decode: kCorruption for bytes that are no Envelope, an envelope of the other direction, an unset or unknown body, an
// unspecified enum or a field out of its range; the message names the field. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "cluster/messages.h"

namespace tephra::cluster {

inline constexpr size_t kMessageBytesMax = 64u << 20;

Result<std::string> encode(const RankMessage& message);
Result<std::string> encode(const CoordinatorMessage& message);
Result<RankMessage> decode_rank_message(std::string_view bytes);
Result<CoordinatorMessage> decode_coordinator_message(std::string_view bytes);

std::string_view message_name(const RankMessage& message);  // "Hello", ...
std::string_view message_name(const CoordinatorMessage& message);

}  // namespace tephra::cluster
