// This program is also the process that its tests kill.
#include <gtest/gtest.h>

#include <string>

#include "tests/storage/kill/victim.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "victim") return tephra::storage::victim_main(argc, argv);
  if (argc > 1 && std::string(argv[1]) == "rank") return tephra::storage::rank_main(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
