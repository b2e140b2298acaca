// The contract suite over the transports of one process: self, and 1, 2, 4 and 8 ranks as threads.
#include <gtest/gtest.h>

#include <ostream>
#include <thread>

#include "communicator_contract.h"

namespace tephra::cluster {
namespace {

struct Param {
  ContractCase contract;
  int ranks = 1;  // 0: the self communicator
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.contract.name << " on " << param.ranks; }

class InProcess : public ::testing::TestWithParam<Param> {};

TEST_P(InProcess, Contract) {
  const Param& param = GetParam();
  if (param.ranks == 0) {
    param.contract.body(*make_self_communicator());
    return;
  }
  auto members = make_thread_communicators(param.ranks);
  std::vector<std::thread> threads;
  for (auto& member : members) threads.emplace_back([&] { param.contract.body(*member); });
  for (std::thread& thread : threads) thread.join();
}

std::vector<Param> params() {
  std::vector<Param> all;
  for (const ContractCase& contract : contract_cases()) {
    for (int ranks : {0, 1, 2, 4, 8}) {
      if (std::max(ranks, 1) >= contract.ranks_min) all.push_back({contract, ranks});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Communicator, InProcess, ::testing::ValuesIn(params()), [](const auto& info) {
  return info.param.contract.name + (info.param.ranks == 0 ? "Self" : "Threads" + std::to_string(info.param.ranks));
});

TEST(ThreadCommunicator, DestroyedMemberIsALostPeer) {
  auto members = make_thread_communicators(2);
  members[1].reset();
  const Status status = members[0]->barrier(Deadline::after(std::chrono::seconds(30)));
  EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
}

TEST(SelfCommunicator, AbortIsForGood) {
  auto self = make_self_communicator();
  self->abort(Status(Code::kCancelled, "stop"));
  EXPECT_EQ(self->barrier(Deadline::never()).code(), Code::kCancelled);
}

using CommunicatorDeathTest = ::testing::Test;
TEST(CommunicatorDeathTest, WrongSizesAreOurBug) {
  auto self = make_self_communicator();
  float data[4] = {};
  EXPECT_DEATH((void)self->all_gather({data, 2}, {data, 4}, Deadline::never()),
               "full is not world size times the shard");
}

}  // namespace
}  // namespace tephra::cluster
