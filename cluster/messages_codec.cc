#include "cluster/messages_codec.h"

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/overloaded.h"
#include "cluster/messages.pb.h"

namespace tephra::cluster {
namespace {

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

constexpr Pair<FlightOp, v1::FlightOp> kFlightOpPairs[] = {
    {FlightOp::kData, v1::FLIGHT_OP_DATA},
    {FlightOp::kGather, v1::FLIGHT_OP_GATHER},
    {FlightOp::kForward, v1::FLIGHT_OP_FORWARD},
    {FlightOp::kFree, v1::FLIGHT_OP_FREE},
    {FlightOp::kRecompute, v1::FLIGHT_OP_RECOMPUTE},
    {FlightOp::kBackward, v1::FLIGHT_OP_BACKWARD},
    {FlightOp::kReduceScatter, v1::FLIGHT_OP_REDUCE_SCATTER},
    {FlightOp::kAllReduce, v1::FLIGHT_OP_ALL_REDUCE},
    {FlightOp::kTotals, v1::FLIGHT_OP_TOTALS},
    {FlightOp::kUpdate, v1::FLIGHT_OP_UPDATE},
    {FlightOp::kAgree, v1::FLIGHT_OP_AGREE},
    {FlightOp::kCommAllGather, v1::FLIGHT_OP_COMM_ALL_GATHER},
    {FlightOp::kCommReduceScatter, v1::FLIGHT_OP_COMM_REDUCE_SCATTER},
};
static_assert(std::size(kFlightOpPairs) == kFlightOps);
constexpr int kUnitNamesMax = 65536;

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
Status at_most(int64_t count, size_t limit, const char* field) {
  if (static_cast<size_t>(count) <= limit) return {};
  return bad(std::string(field) + " has " + std::to_string(count) + " entries, above " + std::to_string(limit));
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
  w.set_host(m.host);
  w.set_task(m.task);
}
void fill(v1::Envelope& e, const Heartbeat& m) {
  auto& w = *e.mutable_heartbeat();
  w.set_phase(m.phase);
  w.set_unit(m.unit);
  w.set_micro_batch(m.micro_batch);
  w.set_step(m.step);
  w.set_collective_sequence(m.collective_sequence);
  w.set_rss_bytes(m.rss_bytes);
  w.set_phase_ms(m.phase_ms);
  w.set_collective(m.collective);
  w.set_collective_unit(m.collective_unit);
  w.set_collective_ms(m.collective_ms);
  w.mutable_samples()->Add(m.samples.begin(), m.samples.end());
  w.set_in_step(m.in_step);
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
void fill(v1::FlightRecord& w, const FlightRecord& r) {
  w.set_op(to_wire(kFlightOpPairs, r.op));
  w.set_comm(r.track == FlightTrack::kComm);
  w.set_unit_plus_one(r.unit + 1);
  w.set_micro_batch_plus_one(r.micro_batch + 1);
  w.set_step(r.step);
  w.set_bytes(r.bytes);
  w.set_sequence(r.sequence);
  w.set_submitted_ns_plus_one(r.submitted_ns + 1);
  w.set_begin_ns(r.begin_ns);
  if (r.open()) {
    w.set_open(true);
  } else {
    w.set_duration_ns(r.end_ns - r.begin_ns);
  }
}
void fill(v1::Envelope& e, const FlightReport& m) {
  auto& w = *e.mutable_flight_report();
  w.set_request(m.request);
  w.set_zero_unix_us(m.flight.zero_unix_us);
  w.set_now_ns(m.flight.now_ns);
  w.set_step(m.flight.step);
  w.set_sequence(m.flight.sequence);
  w.mutable_units()->Add(m.flight.units.begin(), m.flight.units.end());
  w.mutable_samples()->Add(m.flight.samples.begin(), m.flight.samples.end());
  w.set_samples_per_micro_batch(m.flight.samples_per_micro_batch);
  w.set_first_number(m.flight.first_number);
  for (const FlightRecord& record : m.flight.records) fill(*w.add_records(), record);
  for (const FlightStep& step : m.flight.steps) {
    auto& s = *w.add_steps();
    s.set_step(step.step);
    s.set_begin_ns(step.begin_ns);
    s.set_end_ns(step.end_ns);
    s.set_waited_ns(step.waited_ns);
    s.set_first_number(step.first_number);
  }
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
  w.set_name(m.name);
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
void fill(v1::Envelope& e, const FlightRequest& m) {
  e.mutable_flight_request()->set_request(m.request);
  e.mutable_flight_request()->set_records_max(m.records_max);
}

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

Status check_utf8(const std::string& name, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);
    if (length == 0) return {Code::kInvalidArgument, name + " is not UTF-8 at byte " + std::to_string(at)};
    at += length;
  }
  return {};
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
      for (int i = 0; field->is_repeated() && i < reflection->FieldSize(message, field); ++i) {
        const std::string& text = reflection->GetRepeatedStringReference(message, field, i, &scratch);
        TEPHRA_RETURN_IF_ERROR(check_utf8(field->full_name(), text));
      }
      if (field->is_repeated()) continue;
      TEPHRA_RETURN_IF_ERROR(check_utf8(field->full_name(), reflection->GetStringReference(message, field, &scratch)));
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
  return RankMessage(
      Hello{w.job(), w.attempt(), w.rank(), w.world_size(), w.token(), w.pid(), w.build(), w.host(), w.task()});
}
Result<RankMessage> from(const v1::Heartbeat& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "heartbeat.step"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.micro_batch(), "heartbeat.micro_batch"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.rss_bytes(), "heartbeat.rss_bytes"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.phase_ms(), "heartbeat.phase_ms"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.collective_ms(), "heartbeat.collective_ms"));
  TEPHRA_RETURN_IF_ERROR(at_most(w.samples_size(), kFlightSamplesMax, "heartbeat.samples"));
  return RankMessage(Heartbeat{w.phase(),
                               w.unit(),
                               w.micro_batch(),
                               w.step(),
                               w.collective_sequence(),
                               w.rss_bytes(),
                               w.phase_ms(),
                               w.collective(),
                               w.collective_unit(),
                               w.collective_ms(),
                               {w.samples().begin(), w.samples().end()},
                               w.in_step()});
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
Result<FlightRecord> from(const v1::FlightRecord& w, int units) {
  FlightRecord r;
  TEPHRA_RETURN_IF_ERROR(from_wire(kFlightOpPairs, w.op(), "flight_report.records.op", r.op));
  if (w.unit_plus_one() < 0 || w.unit_plus_one() > units)
    return bad("flight_report.records.unit is " + std::to_string(w.unit_plus_one() - 1) + " of " +
               std::to_string(units));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.micro_batch_plus_one(), "flight_report.records.micro_batch"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "flight_report.records.step"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.bytes(), "flight_report.records.bytes"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.submitted_ns_plus_one(), "flight_report.records.submitted_ns"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.begin_ns(), "flight_report.records.begin_ns"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.duration_ns(), "flight_report.records.duration_ns"));
  if (w.duration_ns() > INT64_MAX - w.begin_ns()) return bad("flight_report.records.duration_ns is too large");
  r.track = w.comm() ? FlightTrack::kComm : FlightTrack::kCompute;
  r.unit = w.unit_plus_one() - 1;
  r.micro_batch = w.micro_batch_plus_one() - 1;
  r.step = w.step();
  r.bytes = w.bytes();
  r.sequence = w.sequence();
  r.submitted_ns = w.submitted_ns_plus_one() - 1;
  r.begin_ns = w.begin_ns();
  r.end_ns = w.open() ? -1 : w.begin_ns() + w.duration_ns();
  return r;
}
Result<RankMessage> from(const v1::FlightReport& w) {
  TEPHRA_RETURN_IF_ERROR(not_negative(w.zero_unix_us(), "flight_report.zero_unix_us"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.now_ns(), "flight_report.now_ns"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.step(), "flight_report.step"));
  TEPHRA_RETURN_IF_ERROR(not_negative(w.samples_per_micro_batch(), "flight_report.samples_per_micro_batch"));
  TEPHRA_RETURN_IF_ERROR(at_most(w.units_size(), kUnitNamesMax, "flight_report.units"));
  TEPHRA_RETURN_IF_ERROR(at_most(w.samples_size(), kFlightSamplesMax, "flight_report.samples"));
  TEPHRA_RETURN_IF_ERROR(at_most(w.records_size(), kFlightRecordsMax + 2, "flight_report.records"));
  TEPHRA_RETURN_IF_ERROR(at_most(w.steps_size(), kFlightStepsMax, "flight_report.steps"));
  FlightReport report;
  report.request = w.request();
  Flight& flight = report.flight;
  flight.zero_unix_us = w.zero_unix_us();
  flight.now_ns = w.now_ns();
  flight.step = w.step();
  flight.sequence = w.sequence();
  flight.units.assign(w.units().begin(), w.units().end());
  flight.samples.assign(w.samples().begin(), w.samples().end());
  flight.samples_per_micro_batch = w.samples_per_micro_batch();
  flight.first_number = w.first_number();
  for (const auto& record : w.records()) {
    TEPHRA_ASSIGN_OR_RETURN(FlightRecord r, from(record, w.units_size()));
    flight.records.push_back(r);
  }
  for (const auto& step : w.steps()) {
    if (step.step() < 0 || step.begin_ns() < 0 || step.end_ns() < step.begin_ns() || step.waited_ns() < 0)
      return bad("flight_report.steps has a negative number or duration");
    flight.steps.push_back({step.step(), step.begin_ns(), step.end_ns(), step.waited_ns(), step.first_number()});
  }
  return RankMessage(std::move(report));
}
Result<CoordinatorMessage> from(const v1::FlightRequest& w) {
  if (w.request() == 0) return bad("flight_request.request is 0");
  TEPHRA_RETURN_IF_ERROR(at_most(w.records_max(), kFlightRecordsMax, "flight_request.records_max"));
  return CoordinatorMessage(FlightRequest{w.request(), w.records_max()});
}
Result<CoordinatorMessage> from(const v1::Task& w) {
  TEPHRA_RETURN_IF_ERROR(not_empty(w.kind(), "task.kind"));
  return CoordinatorMessage(Task{w.kind(), w.stage(), w.recipe_json(), w.located_manifest(), w.attempt(),
                                 w.start_step(), w.options_json(), w.work_dir(), w.name()});
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
    case v1::Envelope::kFlightReport: return from(e.flight_report());
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
    case v1::Envelope::kFlightRequest: return from(e.flight_request());
    default: return bad("its body is unset, unknown, or not one that a coordinator sends");
  }
}

std::string_view message_name(const RankMessage& message) {
  return std::visit(
      Overloaded{[](const Hello&) { return "Hello"; }, [](const Heartbeat&) { return "Heartbeat"; },
                 [](const StepProgress&) { return "StepProgress"; }, [](const ShardWritten&) { return "ShardWritten"; },
                 [](const Answers&) { return "Answers"; }, [](const Finished&) { return "Finished"; },
                 [](const Log&) { return "Log"; }, [](const FlightReport&) { return "FlightReport"; }},
      message);
}

std::string_view message_name(const CoordinatorMessage& message) {
  return std::visit(Overloaded{[](const Task&) { return "Task"; }, [](const Committed&) { return "Committed"; },
                               [](const Stop&) { return "Stop"; }, [](const Refused&) { return "Refused"; },
                               [](const FlightRequest&) { return "FlightRequest"; }},
                    message);
}

}  // namespace tephra::cluster
