#include "communicator_contract.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "base/random.h"

namespace tephra::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(60)); }
Buffer floats(std::vector<float>& v) { return {v.data(), static_cast<int64_t>(v.size()), DType::kFloat32}; }
Buffer part(std::vector<float>& v, int64_t begin, int64_t count) { return {v.data() + begin, count, DType::kFloat32}; }

// Magnitudes from 2^-20 to 2^27 of either sign, so that every other order of summation gives other bits.
float value(int rank, int64_t i, uint64_t round) {
  const uint64_t bits = random_bits({static_cast<uint64_t>(rank), static_cast<uint64_t>(i), round});
  const auto exponent = static_cast<uint32_t>(107 + (bits >> 32) % 48);
  return std::bit_cast<float>(static_cast<uint32_t>(bits & 0x807fffff) | exponent << 23);
}

// The tree by its definition: neighbours first.
float tree_sum(std::vector<float> values) {
  while (values.size() > 1) {
    std::vector<float> next;
    for (size_t i = 0; i < values.size(); i += 2) next.push_back(values[i] + values[i + 1]);
    values = next;
  }
  return values[0];
}

void expect_equal_bits(const float* actual, const std::vector<float>& expected, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], 4) == 0) continue;
    ADD_FAILURE() << what << ": element " << i << " is " << actual[i] << ", expected " << expected[i];
    return;
  }
}

// Counts around the vector width and the transports' chunk (262144 floats).
const int64_t kCounts[] = {0, 1, 7, 8, 1000, 262144, 262145};

void gathers_in_rank_order(Communicator& c) {
  const int world = c.world_size();
  for (int64_t count : kCounts) {
    std::vector<float> shard(count), full(count * world, -1), expected;
    for (int64_t i = 0; i < count; ++i) shard[i] = static_cast<float>(c.rank() * 1000003 + i);
    for (int r = 0; r < world; ++r)
      for (int64_t i = 0; i < count; ++i) expected.push_back(static_cast<float>(r * 1000003 + i));
    Status status = c.all_gather(floats(shard), floats(full), soon());
    ASSERT_TRUE(status.ok()) << status.to_string();
    expect_equal_bits(full.data(), expected, "all_gather of " + std::to_string(count));
  }
}

void gathers_in_place(Communicator& c) {
  const int64_t count = 300001;
  std::vector<float> full(count * c.world_size(), -1), expected;
  for (int64_t i = 0; i < count; ++i) full[c.rank() * count + i] = static_cast<float>(c.rank() * 1000003 + i);
  for (int r = 0; r < c.world_size(); ++r)
    for (int64_t i = 0; i < count; ++i) expected.push_back(static_cast<float>(r * 1000003 + i));
  Status status = c.all_gather(part(full, c.rank() * count, count), floats(full), soon());
  ASSERT_TRUE(status.ok()) << status.to_string();
  expect_equal_bits(full.data(), expected, "all_gather in place");
}

void gathers_every_dtype(Communicator& c) {
  for (DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat64, DType::kInt64, DType::kInt32, DType::kUInt8,
                      DType::kBool}) {
    const int64_t count = 13, bytes = count * size_bytes(dtype);
    std::vector<unsigned char> shard(bytes, static_cast<unsigned char>(c.rank() + 1)), full(bytes * c.world_size());
    Status status = c.all_gather({shard.data(), count, dtype}, {full.data(), count * c.world_size(), dtype}, soon());
    ASSERT_TRUE(status.ok()) << status.to_string();
    for (size_t i = 0; i < full.size(); ++i) {
      ASSERT_EQ(full[i], static_cast<unsigned char>(i / bytes + 1)) << dtype_name(dtype) << " byte " << i;
    }
  }
}

void reduces_in_tree_order(Communicator& c) {
  const int world = c.world_size();
  for (const bool in_place : {false, true}) {
    for (int64_t count : kCounts) {
      std::vector<float> full(count * world), shard(count, -1), expected;
      for (int64_t i = 0; i < count * world; ++i) full[i] = value(c.rank(), i, 3);
      for (int64_t i = 0; i < count; ++i) {
        std::vector<float> terms;
        for (int r = 0; r < world; ++r) terms.push_back(value(r, c.rank() * count + i, 3));
        expected.push_back(tree_sum(terms));
      }
      const Buffer out = in_place ? part(full, c.rank() * count, count) : floats(shard);
      Status status = c.reduce_scatter_tree(floats(full), out, soon());
      ASSERT_TRUE(status.ok()) << status.to_string();
      expect_equal_bits(static_cast<float*>(out.data), expected, "reduce_scatter_tree of " + std::to_string(count));
    }
  }
}

// Values that differ little in size, so that the error of any order is within that of a sum of `world` roundings.
void reduces_fast_within_rounding(Communicator& c) {
  const int world = c.world_size();
  for (int64_t count : kCounts) {
    std::vector<float> full(count * world), shard(count, -1);
    const auto term = [](int rank, int64_t i) {
      return static_cast<float>(
          1.0 + static_cast<double>(random_below(1000, {static_cast<uint64_t>(rank), static_cast<uint64_t>(i)})) / 999);
    };
    for (int64_t i = 0; i < count * world; ++i) full[i] = term(c.rank(), i);
    Status status = c.reduce_scatter_fast(floats(full), floats(shard), soon());
    ASSERT_TRUE(status.ok()) << status.to_string();
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < world; ++r) expected += term(r, c.rank() * count + i);
      ASSERT_NEAR(shard[i], expected, expected * world * std::numeric_limits<float>::epsilon()) << count << ": " << i;
    }
  }
}

// The parts of a split: who is in them, and that both they and the whole work beside each other.
void splits_into_groups(Communicator& c) {
  const int world = c.world_size();
  for (const int count : {1, 2}) {
    const int group = c.rank() % count;
    auto made = c.split(group, soon());
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    Communicator& part_of_it = **made;
    const int members = (world - group + count - 1) / count;
    ASSERT_EQ(part_of_it.world_size(), members);
    ASSERT_EQ(part_of_it.rank(), c.rank() / count) << "the order stays";
    for (int round = 0; round < 3; ++round) {
      int64_t mine = c.rank() * 10 + round;
      std::vector<int64_t> theirs(members), all(world);
      ASSERT_TRUE(
          part_of_it.all_gather({&mine, 1, DType::kInt64}, {theirs.data(), members, DType::kInt64}, soon()).ok());
      for (int m = 0; m < members; ++m) ASSERT_EQ(theirs[m], (group + m * count) * 10 + round);
      ASSERT_TRUE(c.all_gather({&mine, 1, DType::kInt64}, {all.data(), world, DType::kInt64}, soon()).ok());
      for (int r = 0; r < world; ++r) ASSERT_EQ(all[r], r * 10 + round);
    }
    ASSERT_TRUE(c.barrier(soon()).ok());
  }
}

// Sums within neighbours, then across the groups: the tree over all ranks, and so its bits.
void split_sums_continue_the_tree(Communicator& c) {
  const int world = c.world_size();
  for (int size = 1; size <= world; size *= 2) {
    auto near = c.split(c.rank() / size, soon()), far = c.split(c.rank() % size, soon());
    ASSERT_TRUE(near.ok() && far.ok());
    const int64_t count = 1003;  // of the part that each rank ends with
    std::vector<float> full(count * world), half(count * world / size), own(count), expected;
    for (int64_t i = 0; i < count * world; ++i) full[i] = value(c.rank(), i, 5);
    ASSERT_TRUE((*near)->reduce_scatter_tree(floats(full), floats(half), soon()).ok());
    ASSERT_TRUE((*far)->reduce_scatter_tree(floats(half), floats(own), soon()).ok());
    const int64_t begin = (*near)->rank() * count * (world / size) + (*far)->rank() * count;
    for (int64_t i = 0; i < count; ++i) {
      std::vector<float> terms;
      for (int r = 0; r < world; ++r) terms.push_back(value(r, begin + i, 5));
      expected.push_back(tree_sum(terms));
    }
    expect_equal_bits(own.data(), expected, "groups of " + std::to_string(size));
    ASSERT_TRUE(c.barrier(soon()).ok());  // before the parts end: for those still in one, who leaves is lost
  }
}

// Who leaves one says so to it alone.
void a_parts_failure_is_its_own(Communicator& c) {
  auto made = c.split(0, soon());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  if (c.rank() == 1) (*made)->abort(Status(Code::kNoSpace, "disk full in test"));
  EXPECT_EQ((*made)->barrier(soon()).code(), c.rank() == 1 ? Code::kNoSpace : Code::kPeerLost);
  EXPECT_TRUE(c.barrier(soon()).ok());
}

// 2^24 + 1 is not a float: a chain gives 2^24, the tree 2^24 + 2. So a transport that sums in rank order fails here.
void tree_differs_from_chain(Communicator& c) {
  const int world = c.world_size();
  const float big = 16777216.0f;
  std::vector<float> full(world, c.rank() == 0 ? big : (c.rank() == 1 ? 0.0f : 1.0f)), shard(1);
  ASSERT_TRUE(c.reduce_scatter_tree(floats(full), floats(shard), soon()).ok());
  EXPECT_EQ(shard[0], big + static_cast<float>(world - 2));
}

// A NaN or infinity on one rank reaches the sum.
void carries_non_finite_values(Communicator& c) {
  std::vector<float> full(2 * c.world_size(), 1.0f), shard(2);
  if (c.rank() == 0) {
    for (int r = 0; r < c.world_size(); ++r) full[2 * r] = std::numeric_limits<float>::infinity();
    for (int r = 0; r < c.world_size(); ++r) full[2 * r + 1] = std::nanf("");
  }
  ASSERT_TRUE(c.reduce_scatter_tree(floats(full), floats(shard), soon()).ok());
  EXPECT_TRUE(std::isinf(shard[0]));
  EXPECT_TRUE(std::isnan(shard[1]));
}

void broadcasts_from_each_root(Communicator& c) {
  for (int root = 0; root < c.world_size(); ++root) {
    for (int64_t count : {int64_t{0}, int64_t{5}, int64_t{500001}}) {
      std::vector<float> data(count, static_cast<float>(c.rank() + 1));
      ASSERT_TRUE(c.broadcast(floats(data), root, soon()).ok());
      expect_equal_bits(data.data(), std::vector<float>(count, static_cast<float>(root + 1)), "broadcast");
    }
  }
}

// Random sequences of collectives, equal on all ranks, against plain loops: no state leaks from one to the next.
void survives_random_sequences(Communicator& c) {
  const int world = c.world_size();
  const uint64_t sequence_before = c.sequence();
  for (uint64_t round = 0; round < 200; ++round) {
    const auto count = static_cast<int64_t>(random_below(300, {round, 17}));
    std::vector<float> full(count * world), shard(count);
    switch (random_below(4, {round, 18})) {
      case 0:
        for (int64_t i = 0; i < count; ++i) shard[i] = value(c.rank(), i, round);
        ASSERT_TRUE(c.all_gather(floats(shard), floats(full), soon()).ok());
        for (int64_t i = 0; i < count * world; ++i)
          ASSERT_EQ(full[i], value(static_cast<int>(i / count), i % count, round)) << "round " << round;
        break;
      case 1:
        for (int64_t i = 0; i < count * world; ++i) full[i] = value(c.rank(), i, round);
        ASSERT_TRUE(c.reduce_scatter_tree(floats(full), floats(shard), soon()).ok());
        for (int64_t i = 0; i < count; ++i) {
          std::vector<float> terms;
          for (int r = 0; r < world; ++r) terms.push_back(value(r, c.rank() * count + i, round));
          ASSERT_EQ(shard[i], tree_sum(terms)) << "round " << round;
        }
        break;
      case 2: {
        const int root = static_cast<int>(round) % world;
        for (int64_t i = 0; i < count; ++i) shard[i] = value(c.rank(), i, round);
        ASSERT_TRUE(c.broadcast(floats(shard), root, soon()).ok());
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(shard[i], value(root, i, round)) << "round " << round;
        break;
      }
      default: ASSERT_TRUE(c.barrier(soon()).ok());
    }
  }
  EXPECT_EQ(c.sequence(), sequence_before + 200);
}

// A rank that comes to a barrier late holds the others back.
void barrier_waits_for_all(Communicator& c) {
  ASSERT_TRUE(c.barrier(soon()).ok());
  const auto begin = std::chrono::steady_clock::now();
  if (c.rank() == c.world_size() - 1) std::this_thread::sleep_for(milliseconds(60));
  ASSERT_TRUE(c.barrier(soon()).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(30));
}

void expect_stays_failed(Communicator& c, const Status& first) {
  std::vector<float> data(4 * c.world_size()), apart(4);
  const Status again[] = {c.probe(),
                          c.barrier(soon()),
                          c.broadcast(floats(data), 0, soon()),
                          c.all_gather(part(data, 0, 4), floats(data), soon()),
                          c.reduce_scatter_tree(floats(data), part(data, 0, 4), soon()),
                          c.reduce_scatter_fast(floats(data), floats(apart), soon()),
                          c.split(0, soon()).status()};
  for (const Status& status : again) {
    EXPECT_EQ(status.code(), first.code());
    EXPECT_EQ(status.message(), first.message());
  }
}

void names_both_collectives_on_mismatch(Communicator& c) {
  std::vector<float> data(8 * c.world_size());
  const uint64_t sequence = c.sequence() + 1;
  const Status status =
      c.rank() == 1 ? c.broadcast(part(data, 0, 5), 1, soon()) : c.all_gather(part(data, 0, 8), floats(data), soon());
  EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
  EXPECT_EQ(status.retry_class(), RetryClass::kNewAttempt);
  const std::string number = std::to_string(sequence);
  EXPECT_EQ(status.message(), "rank 0 is in all_gather #" + number + " (8 F32) while rank 1 is in broadcast #" +
                                  number + " (5 F32 from rank 1)");
  expect_stays_failed(c, status);
}

void finds_other_counts(Communicator& c) {
  std::vector<float> data(8 * c.world_size());
  const int64_t count = c.rank() == c.world_size() - 1 ? 4 : 8;
  const Status status = c.all_gather(part(data, 0, count), part(data, 0, count * c.world_size()), soon());
  EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
}

void peers_learn_of_an_abort(Communicator& c) {
  if (c.rank() == 1) {
    c.abort(Status(Code::kNoSpace, "disk full in test"));
    EXPECT_EQ(c.barrier(soon()).code(), Code::kNoSpace);
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  std::vector<float> data(c.world_size());
  const Status status = c.reduce_scatter_tree(floats(data), part(data, 0, 1), soon());
  EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
  EXPECT_NE(status.message().find("rank 1 left"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("disk full in test"), std::string::npos) << status.message();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(20));
  expect_stays_failed(c, status);
}

// Without any collective: for a rank that waits for something else.
void probe_sees_an_abort(Communicator& c) {
  EXPECT_TRUE(c.probe().ok() || c.rank() != 1);
  if (c.rank() == 1) {
    c.abort(Status(Code::kNoSpace, "disk full in test"));
    EXPECT_EQ(c.probe().code(), Code::kNoSpace);
    return;
  }
  Status status;
  for (const Deadline limit = soon(); status.ok() && !limit.passed(); std::this_thread::yield()) status = c.probe();
  EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
  EXPECT_NE(status.message().find("disk full in test"), std::string::npos) << status.message();
  expect_stays_failed(c, status);
}

// A wait is ended by an abort from another thread of the same rank. The last rank never comes, so nothing else can end
// it.
void own_abort_ends_the_wait(Communicator& c) {
  if (c.rank() == c.world_size() - 1) return;
  std::thread other;
  if (c.rank() == 0) other = std::thread([&] { c.abort(Status(Code::kCancelled, "operator")); });
  const Status status = c.barrier(soon());
  if (other.joinable()) other.join();
  EXPECT_EQ(status.code(), c.rank() == 0 ? Code::kCancelled : Code::kPeerLost) << status.to_string();
}

void gives_up_at_the_deadline(Communicator& c) {
  ASSERT_TRUE(c.barrier(soon()).ok());
  if (c.rank() == 1) {  // comes only after the others have given up
    std::this_thread::sleep_for(milliseconds(400));
    return;
  }
  const Status status = c.barrier(Deadline::after(milliseconds(100)));
  EXPECT_EQ(status.code(), Code::kTimeout) << status.to_string();
  EXPECT_NE(status.message().find("barrier #"), std::string::npos) << status.message();
  expect_stays_failed(c, status);
}

}  // namespace

const std::vector<ContractCase>& contract_cases() {
  static const std::vector<ContractCase> cases = {
      {"GathersInRankOrder", gathers_in_rank_order},
      {"GathersInPlace", gathers_in_place},
      {"GathersEveryDtype", gathers_every_dtype},
      {"ReducesInTreeOrder", reduces_in_tree_order},
      {"ReducesFastWithinRounding", reduces_fast_within_rounding},
      {"SplitsIntoGroups", splits_into_groups},
      {"SplitSumsContinueTheTree", split_sums_continue_the_tree},
      {"APartsFailureIsItsOwn", a_parts_failure_is_its_own, true, 2},
      {"TreeDiffersFromChain", tree_differs_from_chain, false, 4},
      {"CarriesNonFiniteValues", carries_non_finite_values},
      {"BroadcastsFromEachRoot", broadcasts_from_each_root},
      {"SurvivesRandomSequences", survives_random_sequences},
      {"BarrierWaitsForAll", barrier_waits_for_all},
      {"NamesBothCollectivesOnMismatch", names_both_collectives_on_mismatch, true, 2},
      {"FindsOtherCounts", finds_other_counts, true, 2},
      {"PeersLearnOfAnAbort", peers_learn_of_an_abort, true, 2},
      {"ProbeSeesAnAbort", probe_sees_an_abort, true, 2},
      {"OwnAbortEndsTheWait", own_abort_ends_the_wait, true, 2},
      {"GivesUpAtTheDeadline", gives_up_at_the_deadline, true, 2},
  };
  return cases;
}

}  // namespace tephra::cluster
