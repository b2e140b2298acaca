// This program is also the rank that the tests' gangs run (fake_worker.h), and the coordinator that a test kills.
#include <gtest/gtest.h>

#include <string>

#include "fake_worker.h"
#include "victim.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "rank") return tephra::coordinator::fake_worker_main(argc, argv);
  if (argc > 1 && std::string(argv[1]) == "victim") return tephra::coordinator::victim_main(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
