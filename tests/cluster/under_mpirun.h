// Tests that need several processes: a test program starts itself again under mpirun, where each rank runs the disabled tests of a filter.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "cluster/mpi/mpi_communicator.h"

namespace tephra::cluster {

// Inside: starts MPI and joins the world, nullptr and a failure (no skip) when it is not of the size that was asked for.
inline std::unique_ptr<Communicator> mpi_test_world() {
  const char* expected = std::getenv("TEPHRA_TEST_RANKS");
  EXPECT_NE(expected, nullptr) << "runs under mpirun only, started by under_mpirun()";
  if (expected == nullptr || !mpi_init().ok()) return nullptr;
  auto made = make_mpi_communicator();
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  if (!made.ok()) return nullptr;
  EXPECT_EQ((*made)->world_size(), std::atoi(expected)) << "the world is not of the size asked for";
  return (*made)->world_size() == std::atoi(expected) ? std::move(made).value() : nullptr;
}

struct Ran {
  int code;
  std::string output;
};

// Outside: runs the tests of `filter` in this program on `ranks` ranks, which are told to expect `asked` of them (0: as many).
inline Ran under_mpirun(int ranks, const std::string& filter, const std::string& environment, int asked = 0) {
  char self[4096] = {};
  EXPECT_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
  const std::string n = std::to_string(ranks);
  // Open MPI leaves memory behind when it is finalized, of which a leak check in a build with a sanitizer would tell.
  const std::string command =
      "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 TEPHRA_TEST_RANKS=" +
      std::to_string(asked > 0 ? asked : ranks) + " " + environment + " timeout -k 5 100 mpirun -n " + n +
      " --oversubscribe --bind-to none --mca odls_base_sigkill_timeout 0 " + self +
      " --gtest_color=no --gtest_also_run_disabled_tests --gtest_filter='" + filter + "' 2>&1 </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, got);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

}  // namespace tephra::cluster
