#include "cluster/messages_codec.h"

#include <cstdint>
#include <mutex>
#include <vector>

#include "cluster/messages.pb.h"

namespace tephra::cluster {
namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

// The wire's numbers are written out rather than computed, so that reordering the enums in base cannot change the
// protocol.
template <typename Ours, typename Wire>
struct Pair {
  Ours ours;
  Wire wire;
};
constexpr Pair<Code, v1::StatusCode> kCodes[] = {
    {Code::kOk, v1::STATUS_CODE_OK},
    {Code::kInvalidArgument, v1::STATUS_CODE_INVALID_ARGUMENT},
    {Code::kNotFound, v1::STATUS_CODE_NOT_FOUND},
    {Code::kAlreadyExists, v1::STATUS_CODE_ALREADY_EXISTS},
    {Code::kCorruption, v1::STATUS_CODE_CORRUPTION},
    {Code::kIo, v1::STATUS_CODE_IO},
    {Code::kNoSpace, v1::STATUS_CODE_NO_SPACE},
    {Code::kPermission, v1::STATUS_CODE_PERMISSION},
    {Code::kBusy, v1::STATUS_CODE_BUSY},
    {Code::kPeerLost, v1::STATUS_CODE_PEER_LOST},
    {Code::kTimeout, v1::STATUS_CODE_TIMEOUT},
    {Code::kMismatch, v1::STATUS_CODE_MISMATCH},
    {Code::kCancelled, v1::STATUS_CODE_CANCELLED},
    {Code::kUnavailable, v1::STATUS_CODE_UNAVAILABLE},
    {Code::kUnsupported, v1::STATUS_CODE_UNSUPPORTED},
    {Code::kInternal, v1::STATUS_CODE_INTERNAL},
};
constexpr Pair<RetryClass, v1::RetryClass> kRetries[] = {
    {RetryClass::kRetryHere, v1::RETRY_CLASS_RETRY_HERE},
    {RetryClass::kNewAttempt, v1::RETRY_CLASS_NEW_ATTEMPT},
    {RetryClass::kNeedsOperator, v1::RETRY_CLASS_NEEDS_OPERATOR},
    {RetryClass::kPermanent, v1::RETRY_CLASS_PERMANENT},
};
constexpr Pair<log::Level, v1::LogLevel> kLevels[] = {
    {log::Level::kDebug, v1::LOG_LEVEL_DEBUG},
    {log::Level::kInfo, v1::LOG_LEVEL_INFO},
    {log::Level::kWarning, v1::LOG_LEVEL_WARNING},
    {log::Level::kError, v1::LOG_LEVEL_ERROR},
};

template <typename Table, typename Ours>
auto to_wire(const Table& table, Ours value) {
  for (const auto& pair : table)
    if (pair.ours == value) return pair.wire;
  TEPHRA_CHECK(false, "an enumerator that messages_codec.cc does not know");
}

Status bad(const std::string& what) { return {Code::kCorruption, "message refused: " + what}; }

template <typename Table, typename Wire, typename Ours>
Status from_wire(const Table& table, Wire value, const char* field, Ours& out) {
  for (const auto& pair : table) {
    if (pair.wire == value) {
      out = pair.ours;
      return {};
    }
  }
  return bad(std::string(field) + " is " + std::to_string(static_cast<int>(value)) +
             ", which is unspecified or unknown");
}

Status not_negative(int64_t value, const char* field) {
  return value >= 0 ? Status() : bad(std::string(field) + " is " + std::to_string(value) + ", below 0");
}
Status not_empty(const std::string& value, const char* field) {
  return !value.empty() ? Status() : bad(std::string(field) + " is empty");
}

// --- ours to wire

void fill(v1::Envelope& e, const Hello& m) {
  auto& w = *e.mutable_hello();
  w.set_job(m.job);
  w.set_attempt(m.attempt);
  w.set_rank(m.rank);
  w.set_world_size(m.world_size);
  w.set_token(m.token);
  w.set_pid(m.pid);
  w.set_build(m.build);
}
void fill(v1::Envelope& e, const Heartbeat& m) {
  auto& w = *e.mutable_heartbeat();
  w.set_phase(m.phase);
  w.set_unit(m.unit);
  w.set_micro_batch(m.micro_batch);
  w.set_step(m.step);
  w.set_collective_sequence(m.collective_sequence);
  w.set_rss_bytes(m.rss_bytes);
}
void fill(v1::Envelope& e, const StepProgress& m) {
  auto& w = *e.mutable_step_progress();
  w.set_stage(m.stage);
  w.set_step(m.step);
  w.set_total_steps(m.total_steps);
  w.set_loss(m.loss);
  w.set_gradient_norm(m.gradient_norm);
  w.set_learning_rate(m.learning_rate);
  w.set_tokens_per_second(m.tokens_per_second);
  w.set_step_seconds(m.step_seconds);
  w.set_rss_bytes(m.rss_bytes);
  w.set_epoch(m.epoch);
  w.set_loss_tokens(m.loss_tokens);
  w.set_skipped(m.skipped);
  w.set_samples_hash(m.samples_hash);
}
void fill(v1::Envelope& e, const ShardWritten& m) {
  auto& w = *e.mutable_shard_written();
  w.set_stage(m.stage);
  w.set_step(m.step);
  w.set_shard_summary(m.shard_summary);
  w.set_metadata_json(m.metadata_json);
}
void fill(v1::Envelope& e, const Answers& m) {
  auto& w = *e.mutable_answers();
  w.set_task(m.task);
  w.set_total(m.total);
  for (const Answer& answer : m.answers) {
    auto& a = *w.add_answers();
    a.set_question_id(answer.question_id);
    a.set_text(answer.text);
    a.set_json(answer.json);
  }
}
void fill(v1::Envelope& e, const Finished& m) {
  auto& w = *e.mutable_finished();
  w.set_code(to_wire(kCodes, m.code));
  w.set_retry(to_wire(kRetries, m.retry));
  w.set_message(m.message);
  w.set_result_json(m.result_json);
}
void fill(v1::Envelope& e, const Log& m) {
  auto& w = *e.mutable_log();
  w.set_level(to_wire(kLevels, m.level));
  w.set_text(m.text);
}
void fill(v1::Envelope& e, const Task& m) {
  auto& w = *e.mutable_task();
  w.set_kind(m.kind);
  w.set_stage(m.stage);
  w.set_recipe_json(m.recipe_json);
  w.set_located_manifest(m.located_manifest);
  w.set_attempt(m.attempt);
  w.set_start_step(m.start_step);
  w.set_options_json(m.options_json);
  w.set_work_dir(m.work_dir);
}
void fill(v1::Envelope& e, const Committed& m) {
  auto& w = *e.mutable_committed();
  w.set_stage(m.stage);
  w.set_step(m.step);
  w.set_checkpoint(m.checkpoint);
  w.set_ok(m.ok);
  w.set_message(m.message);
}
void fill(v1::Envelope& e, const Stop& m) { e.mutable_stop()->set_reason(m.reason); }
void fill(v1::Envelope& e, const Refused& m) { e.mutable_refused()->set_message(m.message); }

// Length of the well-formed UTF-8 sequence at `at` (RFC 3629: no overlong forms, no surrogates), 0 if there is none.
size_t utf8_length(const std::string& text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto tail = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) { return byte(i) >= low && byte(i) <= high; };
  const unsigned b = byte(at);
  if (b < 0x80) return 1;
  if (b >= 0xc2 && b <= 0xdf) return tail(at + 1) ? 2 : 0;
  if (b >= 0xe0 && b <= 0xef) {
    const bool second = tail(at + 1, b == 0xe0 ? 0xa0 : 0x80, b == 0xed ? 0x9f : 0xbf);
    return second && tail(at + 2) ? 3 : 0;
  }
  if (b >= 0xf0 && b <= 0xf4) {
    const bool second = tail(at + 1, b == 0xf0 ? 0x90 : 0x80, b == 0xf4 ? 0x8f : 0xbf);
    return second && tail(at + 2) && tail(at + 3) ? 4 : 0;
  }
  return 0;
}

// Protobuf would write broken text with no more than a line on stderr, and the reader would then refuse the whole
// message.
Status check_text(const google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!field->is_repeated()) TEPHRA_RETURN_IF_ERROR(check_text(reflection->GetMessage(message, field)));
      for (int i = 0; field->is_repeated() && i < reflection->FieldSize(message, field); ++i) {
        TEPHRA_RETURN_IF_ERROR(check_text(reflection->GetRepeatedMessage(message, field, i)));
      }
    } else if (field->type() == FieldDescriptor::TYPE_STRING) {
      std::string scratch;
      const std::string& text = reflection->GetStringReference(message, field, &scratch);
      for (size_t at = 0; at < text.size();) {
        const size_t length = utf8_length(text, at);
        if (length == 0) {
          return {Code::kInvalidArgument, field->full_name() + " is not UTF-8 at byte " + std::to_string(at)};
        }
        at += length;
      }
    }
  }
  return {};
}

template <typename Message>
Result<std::string> encode_any(const Message& message) {
  v1::Envelope envelope;
  std::visit([&](const auto& m) { fill(envelope, m); }, message);
  TEPHRA_RETURN_IF_ERROR(check_text(envelope));
  const size_t size = envelope.ByteSizeLong();
  if (size > kMessageBytesMax) {
    return Status(Code::kInvalidArgument, "a " + std::string(message_name(message)) + " message of " +
                                              std::to_string(size) + " bytes is larger than the limit of " +
                                              std::to_string(kMessageBytesMax));
  }
  std::string bytes;
  if (!envelope.SerializeToString(&bytes)) return Status(Code::kInternal, "a message could not be serialized");
  return bytes;
}

// --- wire to ours

Result<RankMessage> from(const v1::Hello& w) {
  TEPHRA_RETURN_IF_ERROR(not_empty(w.job(), "hello.job"));
  if (w.world_size() < 1 || w.rank() < 0 || w.rank() >= w.world_size()) {
    return bad("hello.rank is " + std::to_string(w.rank()) + " of a world of " + std::to_string(w.world_size()));
  }
  return RankMessage(Hello{w.job(), w.attempt(), w.rank(), w.world_size(), w.token(), w.pid(), w.build()});
}
Result<RankMessage> from(const v1::Heartbeat& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "heartbeat.step"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.micro_batch(), "heartbeat.micro_batch"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.rss_bytes(), "heartbeat.rss_bytes"));
  return RankMessage(Heartbeat{w.phase(), w.unit(), w.micro_batch(), w.step(), w.collective_sequence(), w.rss_bytes()});
}
Result<RankMessage> from(const v1::StepProgress& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "step_progress.step"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.total_steps(), "step_progress.total_steps"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.rss_bytes(), "step_progress.rss_bytes"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.loss_tokens(), "step_progress.loss_tokens"));
  return RankMessage(StepProgress{w.stage(), w.step(), w.total_steps(), w.loss(), w.gradient_norm(), w.learning_rate(),
                                  w.tokens_per_second(), w.step_seconds(), w.rss_bytes(), w.epoch(), w.loss_tokens(),
                                  w.skipped(), w.samples_hash()});
}
Result<RankMessage> from(const v1::ShardWritten& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "shard_written.step"));
  return RankMessage(ShardWritten{w.stage(), w.step(), w.shard_summary(), w.metadata_json()});
}
Result<RankMessage> from(const v1::Answers& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.total(), "answers.total"));
  Answers answers{w.task(), {}, w.total()};
  answers.answers.reserve(w.answers_size());
  for (const auto& a : w.answers()) {
    TEPHRA_RETURN_IF_ERROR(not_empty(a.question_id(), "answers.question_id"));
    answers.answers.push_back({a.question_id(), a.text(), a.json()});
  }
  return RankMessage(std::move(answers));
}
Result<RankMessage> from(const v1::Finished& w) {
  Finished finished;
  TEPHRA_RETURN_IF_ERROR(from_wire(kCodes, w.code(), "finished.code", finished.code));
  TEPHRA_RETURN_IF_ERROR(from_wire(kRetries, w.retry(), "finished.retry", finished.retry));
  finished.message = w.message();
  finished.result_json = w.result_json();
  return RankMessage(std::move(finished));
}
Result<RankMessage> from(const v1::Log& w) {
  Log log;
  TEPHRA_RETURN_IF_ERROR(from_wire(kLevels, w.level(), "log.level", log.level));
  log.text = w.text();
  return RankMessage(std::move(log));
}
Result<CoordinatorMessage> from(const v1::Task& w) {
  TEPHRA_RETURN_IF_ERROR(not_empty(w.kind(), "task.kind"));
  return CoordinatorMessage(Task{w.kind(), w.stage(), w.recipe_json(), w.located_manifest(), w.attempt(),
                                 w.start_step(), w.options_json(), w.work_dir()});
}
Result<CoordinatorMessage> from(const v1::Committed& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "committed.step"));
  return CoordinatorMessage(Committed{w.stage(), w.step(), w.checkpoint(), w.ok(), w.message()});
}

Status parse(std::string_view bytes, v1::Envelope& envelope) {
  // Protobuf tells stderr about bad text; a stranger's bytes must not fill our terminal. The refusal itself is
  // reported.
  static std::once_flag quiet;
  std::call_once(quiet, [] { google::protobuf::SetLogHandler(nullptr); });
  if (bytes.size() > kMessageBytesMax) return bad("it is larger than the limit");
  if (!envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return bad("it is no protobuf Envelope");
  return {};
}

}  // namespace

Result<std::string> encode(const RankMessage& message) { return encode_any(message); }
Result<std::string> encode(const CoordinatorMessage& message) { return encode_any(message); }

Result<RankMessage> decode_rank_message(std::string_view bytes) {
  v1::Envelope e;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, e));
  switch (e.body_case()) {
    case v1::Envelope::kHello: return from(e.hello());
    case v1::Envelope::kHeartbeat: return from(e.heartbeat());
    case v1::Envelope::kStepProgress: return from(e.step_progress());
    case v1::Envelope::kShardWritten: return from(e.shard_written());
    case v1::Envelope::kAnswers: return from(e.answers());
    case v1::Envelope::kFinished: return from(e.finished());
    case v1::Envelope::kLog: return from(e.log());
    default: return bad("its body is unset, unknown, or not one that a rank sends");
  }
}

Result<CoordinatorMessage> decode_coordinator_message(std::string_view bytes) {
  v1::Envelope e;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, e));
  switch (e.body_case()) {
    case v1::Envelope::kTask: return from(e.task());
    case v1::Envelope::kCommitted: return from(e.committed());
    case v1::Envelope::kStop: return CoordinatorMessage(Stop{e.stop().reason()});
    case v1::Envelope::kRefused: return CoordinatorMessage(Refused{e.refused().message()});
    default: return bad("its body is unset, unknown, or not one that a coordinator sends");
  }
}

std::string_view message_name(const RankMessage& message) {
  return std::visit(
      Overloaded{[](const Hello&) { return "Hello"; }, [](const Heartbeat&) { return "Heartbeat"; },
                 [](const StepProgress&) { return "StepProgress"; }, [](const ShardWritten&) { return "ShardWritten"; },
                 [](const Answers&) { return "Answers"; }, [](const Finished&) { return "Finished"; },
                 [](const Log&) { return "Log"; }},
      message);
}

std::string_view message_name(const CoordinatorMessage& message) {
  return std::visit(Overloaded{[](const Task&) { return "Task"; }, [](const Committed&) { return "Committed"; },
                               [](const Stop&) { return "Stop"; }, [](const Refused&) { return "Refused"; }},
                    message);
}

}  // namespace tephra::cluster
