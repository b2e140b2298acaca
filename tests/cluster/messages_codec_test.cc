// Every message survives the trip with every field, and bytes from elsewhere are refused with the field's name.
#include "cluster/messages_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/random.h"

namespace tephra::cluster {
namespace {

template <typename T>
T trip(const T& message) {
  Result<std::string> bytes = encode(RankMessage(message));
  EXPECT_TRUE(bytes.ok()) << bytes.status().to_string();
  Result<RankMessage> back = decode_rank_message(*bytes);
  EXPECT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_FALSE(decode_coordinator_message(*bytes).ok());  // wrong direction
  return std::get<T>(*back);
}
template <typename T>
T trip_back(const T& message) {
  Result<std::string> bytes = encode(CoordinatorMessage(message));
  EXPECT_TRUE(bytes.ok()) << bytes.status().to_string();
  Result<CoordinatorMessage> back = decode_coordinator_message(*bytes);
  EXPECT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_FALSE(decode_rank_message(*bytes).ok());
  return std::get<T>(*back);
}

TEST(MessagesCodec, CarriesEveryFieldOfARank) {
  const Hello hello = trip(Hello{"job-1", 7, 2, 4, "secret", 4711, "0.1.0+abc", "node7"});
  EXPECT_EQ(hello.job, "job-1");
  EXPECT_EQ(hello.attempt, 7u);
  EXPECT_EQ(hello.rank, 2);
  EXPECT_EQ(hello.world_size, 4);
  EXPECT_EQ(hello.token, "secret");
  EXPECT_EQ(hello.pid, 4711);
  EXPECT_EQ(hello.build, "0.1.0+abc");
  EXPECT_EQ(hello.host, "node7");

  const Heartbeat heartbeat = trip(Heartbeat{
      "gather", "layers.3", 5, 40, 1234567890123, 1 << 30, 12, "all_gather", "layers.4", 11, {"a", "ü"}, true});
  EXPECT_EQ(heartbeat.phase, "gather");
  EXPECT_EQ(heartbeat.unit, "layers.3");
  EXPECT_EQ(heartbeat.micro_batch, 5);
  EXPECT_EQ(heartbeat.step, 40);
  EXPECT_EQ(heartbeat.collective_sequence, 1234567890123u);
  EXPECT_EQ(heartbeat.rss_bytes, 1 << 30);
  EXPECT_EQ(heartbeat.phase_ms, 12);
  EXPECT_EQ(heartbeat.collective, "all_gather");
  EXPECT_EQ(heartbeat.collective_unit, "layers.4");
  EXPECT_EQ(heartbeat.collective_ms, 11);
  EXPECT_EQ(heartbeat.samples, (std::vector<std::string>{"a", "ü"}));
  EXPECT_TRUE(heartbeat.in_step);

  const StepProgress p = trip(StepProgress{"align", 3, 9, 1.25, 0.5, 1e-3, 1000.5, 0.75, 99, 0.125, 321, true, "5eed"});
  EXPECT_EQ(p.stage, "align");
  EXPECT_EQ(p.step, 3);
  EXPECT_EQ(p.total_steps, 9);
  EXPECT_EQ(p.loss, 1.25);
  EXPECT_EQ(p.gradient_norm, 0.5);
  EXPECT_EQ(p.learning_rate, 1e-3);
  EXPECT_EQ(p.tokens_per_second, 1000.5);
  EXPECT_EQ(p.step_seconds, 0.75);
  EXPECT_EQ(p.rss_bytes, 99);
  EXPECT_EQ(p.epoch, 0.125);
  EXPECT_EQ(p.loss_tokens, 321);
  EXPECT_TRUE(p.skipped);
  EXPECT_EQ(p.samples_hash, "5eed");

  const std::string bytes("\x00\xff\x80 any", 7);
  const ShardWritten shard = trip(ShardWritten{"tune", 12, bytes, "{}"});
  EXPECT_EQ(shard.stage, "tune");
  EXPECT_EQ(shard.step, 12);
  EXPECT_EQ(shard.shard_summary, bytes);
  EXPECT_EQ(shard.metadata_json, "{}");

  const Answers answers = trip(Answers{"scienceqa", {{"1", "Die Antwort ist €.", "{\"a\":1}"}, {"2", "", ""}}, 361});
  EXPECT_EQ(answers.total, 361);
  EXPECT_EQ(answers.task, "scienceqa");
  ASSERT_EQ(answers.answers.size(), 2u);
  EXPECT_EQ(answers.answers[0].question_id, "1");
  EXPECT_EQ(answers.answers[0].text, "Die Antwort ist €.");
  EXPECT_EQ(answers.answers[0].json, "{\"a\":1}");
  EXPECT_EQ(answers.answers[1].question_id, "2");

  const Log log = trip(Log{log::Level::kWarning, "slow disk"});
  EXPECT_EQ(log.level, log::Level::kWarning);
  EXPECT_EQ(log.text, "slow disk");
}

Flight whole_flight() {
  Flight flight{.zero_unix_us = 1764108000000000,
                .now_ns = 9000,
                .step = 8,
                .sequence = 1u << 30,
                .units = {"tower", "head"},
                .samples = {"a", "b"},
                .samples_per_micro_batch = 2,
                .first_number = 5};
  for (int op = 1; op <= kFlightOps; ++op) {
    const bool comm = op >= static_cast<int>(FlightOp::kCommAllGather);
    flight.records.push_back({.track = comm ? FlightTrack::kComm : FlightTrack::kCompute,
                              .op = static_cast<FlightOp>(op),
                              .unit = op % 3 - 1,
                              .micro_batch = op % 2 - 1,
                              .step = 7,
                              .bytes = comm ? 1ll << 40 : 0,
                              .sequence = comm ? 1ull << 40 : 0,
                              .submitted_ns = comm ? 0 : -1,
                              .begin_ns = 10 * op,
                              .end_ns = op == kFlightOps ? -1 : 10 * op + op % 4});
  }
  flight.steps.push_back({7, 1, 8000, 6000, 3});
  return flight;
}

TEST(MessagesCodec, CarriesFlights) {
  const FlightReport report = trip(FlightReport{77, whole_flight()});
  EXPECT_EQ(report.request, 77u);
  EXPECT_EQ(report.flight, whole_flight());
  const FlightRequest request = trip_back(FlightRequest{77, 1000});
  EXPECT_EQ(request.request, 77u);
  EXPECT_EQ(request.records_max, 1000u);
}

TEST(MessagesCodec, RefusesFlightsBeyondTheirBounds) {
  const auto refusal = [](const std::function<void(Flight&)>& spoil) {
    FlightReport report{1, whole_flight()};
    spoil(report.flight);
    const Result<std::string> bytes = encode(RankMessage(report));
    EXPECT_TRUE(bytes.ok());
    return decode_rank_message(*bytes).status().message();
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal([](Flight& f) { f.records.resize(kFlightRecordsMax + 3, f.records[0]); }),
              HasSubstr("flight_report.records has 1003 entries, above 1002"));
  EXPECT_THAT(refusal([](Flight& f) { f.steps.resize(65); }), HasSubstr("flight_report.steps"));
  EXPECT_THAT(refusal([](Flight& f) { f.samples.resize(257); }), HasSubstr("flight_report.samples"));
  EXPECT_THAT(refusal([](Flight& f) { f.records[3].unit = 2; }), HasSubstr("unit is 2 of 2"));
  EXPECT_THAT(refusal([](Flight& f) { f.records[3].begin_ns = -5; }), HasSubstr("flight_report.records.begin_ns"));
  EXPECT_THAT(refusal([](Flight& f) { f.records[3].end_ns = f.records[3].begin_ns - 1; }),
              HasSubstr("flight_report.records.duration_ns"));
  EXPECT_THAT(refusal([](Flight& f) { f.steps[0].end_ns = 0; }), HasSubstr("flight_report.steps"));
  EXPECT_THAT(refusal([](Flight& f) { f.now_ns = -1; }), HasSubstr("flight_report.now_ns"));
  FlightReport broken{1, whole_flight()};
  broken.flight.samples[1] = "\xff";
  EXPECT_THAT(encode(RankMessage(broken)).status().message(), HasSubstr("FlightReport.samples is not UTF-8 at byte 0"));
  const std::string none = *encode(CoordinatorMessage(FlightRequest{0, 5}));
  EXPECT_THAT(decode_coordinator_message(none).status().message(), HasSubstr("flight_request.request is 0"));
  const std::string many = *encode(CoordinatorMessage(FlightRequest{1, 1001}));
  EXPECT_THAT(decode_coordinator_message(many).status().message(), HasSubstr("flight_request.records_max"));
}

// docs/protocol.md shows these bytes.
TEST(MessagesCodec, HelloHasTheDocumentedBytes) {
  const std::string expected(
      "\x0a\x0f\x0a\x01j\x10\x01\x20\x02\x2a\x01t\x30\x2a\x3a\x01"
      "b",
      17);
  EXPECT_EQ(*encode(RankMessage(Hello{"j", 1, 0, 2, "t", 42, "b"})), expected);
}

TEST(MessagesCodec, CarriesEveryCodeAndRetryClass) {
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code) {
    for (int retry = 0; retry <= static_cast<int>(RetryClass::kPermanent); ++retry) {
      const Finished f = trip(Finished{static_cast<Code>(code), static_cast<RetryClass>(retry), "why", "{}"});
      EXPECT_EQ(f.code, static_cast<Code>(code));
      EXPECT_EQ(f.retry, static_cast<RetryClass>(retry));
      EXPECT_EQ(f.message, "why");
      EXPECT_EQ(f.result_json, "{}");
    }
  }
}

TEST(MessagesCodec, CarriesEveryFieldOfTheCoordinator) {
  const std::string bytes("\x01\x00\xfe", 3);
  const Task task = trip_back(Task{"train", "align", "{\"a\":1}", bytes, 3, 1ull << 40, "{}", "/tmp/x"});
  EXPECT_EQ(task.kind, "train");
  EXPECT_EQ(task.stage, "align");
  EXPECT_EQ(task.recipe_json, "{\"a\":1}");
  EXPECT_EQ(task.located_manifest, bytes);
  EXPECT_EQ(task.attempt, 3u);
  EXPECT_EQ(task.start_step, 1ull << 40);
  EXPECT_EQ(task.options_json, "{}");
  EXPECT_EQ(task.work_dir, "/tmp/x");
  const Committed committed = trip_back(Committed{"align", 5, "j/align@5", true, ""});
  EXPECT_EQ(committed.stage, "align");
  EXPECT_EQ(committed.step, 5);
  EXPECT_EQ(committed.checkpoint, "j/align@5");
  EXPECT_TRUE(committed.ok);
  EXPECT_EQ(trip_back(Committed{"align", 5, "", false, "disk full"}).message, "disk full");
  EXPECT_EQ(trip_back(Stop{"operator"}).reason, "operator");
  EXPECT_EQ(trip_back(Refused{"old attempt"}).message, "old attempt");
}

void expect_refused(const RankMessage& message, const std::string& words) {
  Result<std::string> bytes = encode(message);
  ASSERT_TRUE(bytes.ok());
  Result<RankMessage> back = decode_rank_message(*bytes);
  ASSERT_FALSE(back.ok()) << words;
  EXPECT_EQ(back.status().code(), Code::kCorruption);
  EXPECT_NE(back.status().message().find(words), std::string::npos) << back.status().message();
}

TEST(MessagesCodec, RefusesValuesOutOfRange) {
  expect_refused(Hello{"", 1, 0, 1, "", 0, ""}, "hello.job");
  expect_refused(Hello{"j", 1, 4, 4, "", 0, ""}, "hello.rank is 4 of a world of 4");
  expect_refused(Hello{"j", 1, -1, 4, "", 0, ""}, "hello.rank");
  expect_refused(Heartbeat{"x", "", -1, 0, 0, 0}, "heartbeat.micro_batch");
  expect_refused(ShardWritten{"s", -5, "", ""}, "shard_written.step");
  expect_refused(Answers{"t", {{"", "x", ""}}}, "answers.question_id");
}

TEST(MessagesCodec, RefusesUnspecifiedEnumsAndForeignBodies) {
  // Envelope{finished{}}: field 6, length 0. Envelope{log{level: 9}}: field 7.
  EXPECT_NE(decode_rank_message(std::string("\x32\x00", 2)).status().message().find("finished.code"),
            std::string::npos);
  EXPECT_NE(decode_rank_message(std::string("\x3a\x02\x08\x09", 4)).status().message().find("log.level is 9"),
            std::string::npos);
  EXPECT_FALSE(decode_rank_message("").ok());
  EXPECT_FALSE(decode_rank_message("no protobuf at all").ok());
  EXPECT_FALSE(decode_rank_message(std::string("\xa2\x06\x00", 3)).ok());  // field 100, unknown here
}

TEST(MessagesCodec, RefusesTextThatIsNotUtf8BeforeItIsSent) {
  for (const std::string& text :
       {std::string("cut \xe2\x82"), std::string("\xff"), std::string("\xc0\x80"), std::string("\xed\xa0\x80")}) {
    const Result<std::string> bytes = encode(RankMessage(Answers{"t", {{"1", text, ""}}}));
    ASSERT_FALSE(bytes.ok());
    EXPECT_EQ(bytes.status().code(), Code::kInvalidArgument);
    EXPECT_NE(bytes.status().message().find("Answer.text is not UTF-8 at byte"), std::string::npos)
        << bytes.status().message();
  }
  EXPECT_TRUE(encode(RankMessage(Log{log::Level::kInfo, "€ 😀 \xf4\x8f\xbf\xbf"})).ok());
}

TEST(MessagesCodec, RefusesWhatIsTooLarge) {
  const Result<std::string> bytes = encode(RankMessage(ShardWritten{"s", 1, std::string(kMessageBytesMax, 'x'), ""}));
  ASSERT_FALSE(bytes.ok());
  EXPECT_EQ(bytes.status().code(), Code::kInvalidArgument);
  EXPECT_NE(bytes.status().message().find("ShardWritten"), std::string::npos);
}

// Random bytes and damaged messages never crash, and whatever is accepted can be encoded again.
TEST(MessagesCodec, SurvivesRandomBytes) {
  const std::string good = *encode(RankMessage(Answers{"task", {{"1", "text", "{}"}, {"2", "more", ""}}}));
  int accepted = 0;
  for (uint64_t round = 0; round < 20000; ++round) {
    std::string bytes;
    if (round % 2 == 0) {
      for (uint64_t i = 0, n = random_below(60, {round}); i < n; ++i)
        bytes += static_cast<char>(random_bits({round, i}));
    } else {
      bytes = good;
      bytes[random_below(bytes.size(), {round, 1})] = static_cast<char>(random_bits({round, 2}));
    }
    const Result<RankMessage> message = decode_rank_message(bytes);
    if (!message.ok()) continue;
    ++accepted;
    EXPECT_TRUE(encode(*message).ok()) << "round " << round;
    (void)decode_coordinator_message(bytes);
  }
  EXPECT_GT(accepted, 100);  // the damaged ones are often still messages; else this tested nothing
}

}  // namespace
}  // namespace tephra::cluster
