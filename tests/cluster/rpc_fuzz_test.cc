// Frames that nobody would send, against the real rank server over real sockets: conversations of valid messages, mutated
// at random, many at a time. Whatever comes, the server goes on, ends the connection when the peer has said its last
// word, and says why of each connection whose Hello it took: once, and after the connection's last message. What it
// delivers can be encoded again. A seed in the environment (TEPHRA_TEST_SEED) runs that one alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>

#include "base/log.h"
#include "base/random.h"
#include "cluster/rpc.h"
#include "tests/cluster/raw_peer.h"

namespace tephra::cluster {
namespace {

constexpr uint64_t kRounds = 10000, kThreads = 4;

std::vector<std::string> corpus() {
  Flight flight;
  flight.units = {"connector", "layers.0"};
  flight.samples = {"a", "b"};
  flight.records.push_back({});
  const std::vector<RankMessage> messages = {
      Hello{"job", 1, 0, 1, "token", 1, "build"},
      Heartbeat{"forward", "layers.0", 1, 2, 3, 4, 5, "all_gather", "layers.1", 6, {"a", "b"}, true},
      StepProgress{"s", 1, 10, 0.5, 1, 1e-3, 100, 0.1, 1000, 0.2, 30, false, "0123456789abcdef0123456789abcdef"},
      ShardWritten{"s", 1, std::string(3000, '\x80'), "{}"},
      Answers{"bench", {{"q1", "yes", "{}"}, {"q2", "no", ""}}, 2},
      Finished{Code::kOk, RetryClass::kPermanent, "", "{}"},
      Finished{Code::kNoSpace, RetryClass::kNeedsOperator, "disk full", ""},
      Log{log::Level::kInfo, std::string(500, 'x')},
      FlightReport{0, flight},
  };
  std::vector<std::string> frames;
  for (const RankMessage& message : messages) frames.push_back(frame(message));
  for (const CoordinatorMessage& message :
       {CoordinatorMessage(Stop{"no rank says this"}), CoordinatorMessage(FlightRequest{1, 10})}) {
    const std::string payload = *encode(message);
    frames.push_back(u32(static_cast<uint32_t>(payload.size())) + payload);
  }
  return frames;
}

// Numbers of one seed, one after another.
class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  uint64_t below(uint64_t n) { return random_below(n, {seed_, next_++}); }

 private:
  uint64_t seed_, next_ = 0;
};

void mutate(Dice& dice, size_t from, std::string* bytes) {
  if (bytes->size() <= from) return;
  const size_t at = from + dice.below(bytes->size() - from);
  const size_t length = std::min<size_t>(1 + dice.below(40), bytes->size() - at);
  switch (dice.below(7)) {
    case 0: (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << dice.below(8))); break;
    case 1: (*bytes)[at] = static_cast<char>(dice.below(256)); break;
    case 2: bytes->erase(at, length); break;
    case 3: bytes->insert(at, bytes->substr(at, length)); break;
    case 4: bytes->resize(at); break;
    case 5: {
      std::string noise;
      for (size_t i = 0; i < length; ++i) noise += static_cast<char>(dice.below(256));
      bytes->insert(at, noise);
      break;
    }
    default: {  // a number of four bytes, where a length might be
      constexpr uint32_t kNumbers[] = {0, 1, 5, 1u << 16, (64u << 10) + 1, 64u << 20, (64u << 20) + 1, 0x7fffffff, ~0u};
      bytes->replace(at, std::min<size_t>(4, bytes->size() - at), u32(kNumbers[dice.below(std::size(kNumbers))]));
    }
  }
}

// A conversation of one peer. Half of them begin well, so that mutations reach what comes after the Hello.
std::string conversation(const std::vector<std::string>& frames, uint64_t seed) {
  Dice dice(seed);
  std::string bytes = greeting() + frames[0];
  const size_t begun_well = bytes.size();
  for (uint64_t i = 0, n = dice.below(6); i < n; ++i) bytes += frames[1 + dice.below(frames.size() - 1)];
  const size_t from = dice.below(2) == 0 ? begun_well : dice.below(2) == 0 ? kGreetingBytes : 0;
  for (uint64_t i = 0, n = dice.below(5); i < n; ++i) mutate(dice, from, &bytes);
  return bytes;
}

// What the server told of each connection; callbacks come from one thread.
struct Told {
  std::mutex mutex;
  std::map<ConnectionId, int> messages, closes;
  std::map<Code, int> reasons;
  std::vector<std::string> wrong;

  void message(ConnectionId id, const RankMessage& message) {
    std::lock_guard lock(mutex);
    const bool hello = std::holds_alternative<Hello>(message);
    if (hello != (messages[id] == 0)) wrong.push_back("a Hello not first, or something else first");
    if (closes[id] > 0) wrong.push_back("a message after the end of its connection");
    if (!encode(message).ok()) wrong.push_back(std::string(message_name(message)) + " cannot be encoded again");
    ++messages[id];
  }
  void closed(ConnectionId id, const Status& reason) {
    std::lock_guard lock(mutex);
    if (messages[id] == 0) wrong.push_back("an end without a Hello");
    if (++closes[id] > 1) wrong.push_back("two ends of one connection");
    if (reason.ok() || reason.message().empty()) wrong.push_back("an end without a reason");
    ++reasons[reason.code()];
  }
};

TEST(RpcFuzz, WhateverComesTheServerGoesOnAndSaysWhyAConnectionEnded) {
  log::init("", log::Level::kError, "fuzz");  // not a line for each of them
  Told told;
  auto server = RpcServer::start("127.0.0.1", 0,
                                 {[&](ConnectionId id, RankMessage message) { told.message(id, message); },
                                  [&](ConnectionId id, const Status& reason) { told.closed(id, reason); }});
  ASSERT_TRUE(server.ok()) << server.status().to_string();
  const std::vector<std::string> frames = corpus();
  const char* only = std::getenv("TEPHRA_TEST_SEED");
  const uint64_t first = only ? std::strtoull(only, nullptr, 10) : 0, last = only ? first + 1 : kRounds;
  const uint16_t port = (*server)->port();
  std::vector<std::thread> peers;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    peers.emplace_back([&, thread] {
      for (uint64_t seed = first + thread; seed < last; seed += kThreads) {
        SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(seed));
        RawSocket peer(port);
        peer.send(conversation(frames, seed));
        peer.end_of_stream();
        const std::string said = peer.read_to_end();  // fails when the server does not close
        // A reset, of what it did not read any more, may destroy the greeting.
        EXPECT_TRUE(said.empty() || said == greeting()) << said.size() << " bytes";
      }
    });
  }
  for (std::thread& peer : peers) peer.join();

  // An honest peer is still served, and its last word is the last event.
  {
    auto client = RpcClient::connect("127.0.0.1", port, {}, Deadline::after(std::chrono::seconds(30)));
    ASSERT_TRUE(client.ok()) << client.status().to_string();
    ASSERT_TRUE((*client)->send(Hello{"honest", 1, 0, 1, "token", 1, "build"}).ok());
    (*client)->close();
  }
  const auto all_closed = [&] {
    std::lock_guard lock(told.mutex);
    return std::all_of(told.messages.begin(), told.messages.end(),
                       [&](const auto& of) { return told.closes[of.first]; });
  };
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); !all_closed();) {
    ASSERT_FALSE(deadline.passed()) << "connections whose end was never told";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  (*server)->stop();
  log::init("", log::Level::kWarning, "test");
  EXPECT_EQ(told.wrong, std::vector<std::string>{});
  if (only) return;
  // The mutations reach what they should: well-formed conversations, broken ones, and ones that end too soon.
  EXPECT_GT(told.messages.size(), kRounds / 2);
  EXPECT_GT(told.reasons[Code::kCorruption], 100);
  EXPECT_GT(told.reasons[Code::kPeerLost], 100);
  EXPECT_EQ(told.reasons[Code::kInternal], 0);
}

int64_t resident_bytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// A length that is only claimed costs nothing.
TEST(RpcFuzz, ClaimedLengthsTakeNoMemory) {
  std::atomic<int> hellos{0};
  auto server = RpcServer::start("127.0.0.1", 0, {[&](ConnectionId, RankMessage) { ++hellos; }, {}});
  ASSERT_TRUE(server.ok());
  const std::string begin = greeting() + frame(Hello{"job", 1, 0, 1, "token", 1, "build"});
  const int64_t before = resident_bytes();
  std::vector<std::unique_ptr<RawSocket>> peers;
  for (int i = 0; i < 50; ++i) {
    peers.push_back(std::make_unique<RawSocket>((*server)->port()));
    peers.back()->send(begin + u32(64u << 20) + "x");
  }
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); hellos < 50;) {
    ASSERT_FALSE(deadline.passed());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_LT(resident_bytes() - before, int64_t{200} << 20);  // 50 messages of 64 MiB were announced
  (*server)->stop();
}

}  // namespace
}  // namespace tephra::cluster
