// The contract suite of cluster::Communicator: each function is the body of one rank and runs over every transport.
// Expected values come from plain loops over what each rank is known to have put in.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cluster/communicator.h"

namespace tephra::cluster {

struct ContractCase {
  std::string name;
  std::function<void(Communicator&)> body;
  bool ends_group = false;  // leaves the group failed; nothing can run after it
  int ranks_min = 1;
};

const std::vector<ContractCase>& contract_cases();

}  // namespace tephra::cluster
