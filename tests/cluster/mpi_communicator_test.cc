// The same contract suite over MPI: the test starts this very program again under mpirun. Each rank then runs the
// disabled tests below, which fail (not skip) when the world is not of the size that was asked for.
#include "cluster/mpi/mpi_communicator.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "communicator_contract.h"
#include "tests/cluster/under_mpirun.h"

namespace tephra::cluster {
namespace {

// --- inside mpirun

// All cases that leave the group whole, in one world.
TEST(DISABLED_InsideMpi, Contract) {
  auto communicator = mpi_test_world();
  ASSERT_NE(communicator, nullptr);
  int ran = 0;
  for (const ContractCase& contract : contract_cases()) {
    if (contract.ends_group || contract.ranks_min > communicator->world_size()) continue;
    SCOPED_TRACE(contract.name);
    contract.body(*communicator);
    ASSERT_FALSE(HasFailure()) << contract.name;
    ++ran;
  }
  EXPECT_GE(ran, 8);
  communicator.reset();
  mpi_finalize();
}

// One case that ends the group, in a world of its own. MPI cannot be finalized after it, so the rank says by a file
// whether its expectations held and leaves without ceremony; mpirun then complains, as it should.
TEST(DISABLED_InsideMpi, OneCase) {
  auto communicator = mpi_test_world();
  ASSERT_NE(communicator, nullptr);
  const std::string name = std::getenv("TEPHRA_TEST_CASE");
  for (const ContractCase& contract : contract_cases()) {
    if (contract.name == name) contract.body(*communicator);
  }
  // Whole or not there: a peer that sees the file leaves, and mpirun then kills this rank.
  const std::string verdict = std::getenv("TEPHRA_TEST_OUT") + ("/rank" + std::to_string(communicator->rank()));
  std::ofstream(verdict + ".part") << (HasFailure() ? "failed" : "passed");
  std::rename((verdict + ".part").c_str(), verdict.c_str());
  // Peers must not be killed by mpirun before they have written theirs.
  for (int i = 0; i < 1000; ++i) {
    int written = 0;
    for (int r = 0; r < communicator->world_size(); ++r) {
      written += access((std::getenv("TEPHRA_TEST_OUT") + ("/rank" + std::to_string(r))).c_str(), F_OK) == 0;
    }
    if (written == communicator->world_size()) break;
    usleep(10000);
  }
  std::fflush(nullptr);
  _exit(HasFailure() ? 1 : 0);
}

// --- outside

class MpiCommunicator : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, MpiCommunicator, ::testing::Values(1, 2, 4));

TEST_P(MpiCommunicator, KeepsTheContract) {
  const Ran ran = under_mpirun(GetParam(), "DISABLED_InsideMpi.Contract", "");
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("[  PASSED  ] 1 test"), std::string::npos)
      << ran.output;  // 0 is also said when no test ran
}

TEST_P(MpiCommunicator, FailsAsTheContractSays) {
  for (const ContractCase& contract : contract_cases()) {
    if (!contract.ends_group || contract.ranks_min > GetParam()) continue;
    std::string directory = ::testing::TempDir() + "/tephra_mpi_XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    const Ran ran = under_mpirun(GetParam(), "DISABLED_InsideMpi.OneCase",
                                 "TEPHRA_TEST_CASE=" + contract.name + " TEPHRA_TEST_OUT=" + directory);
    for (int r = 0; r < GetParam(); ++r) {
      const std::string path = directory + "/rank" + std::to_string(r);
      std::ostringstream verdict;
      verdict << std::ifstream(path).rdbuf();
      EXPECT_EQ(verdict.str(), "passed") << contract.name << " rank " << r << "\n" << ran.output;
      unlink(path.c_str());
    }
    rmdir(directory.c_str());
  }
}

TEST(MpiCommunicatorSuite, FailsInASmallerWorld) {
  const Ran ran = under_mpirun(1, "DISABLED_InsideMpi.Contract", "", 2);
  EXPECT_NE(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("the world is not of the size asked for"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace tephra::cluster
