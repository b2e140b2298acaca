// Where ranks find the coordinator: on their command line, and, when they lose it, in a file of the store, which the next
// coordinator on the store writes anew.
#pragma once

#include <cstdint>
#include <string>

namespace tephra::coordinator {

inline std::string rpc_address(const std::string& host, uint16_t port) {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

inline std::string rpc_address_path(const std::string& store_dir) { return store_dir + "/rpc_address"; }

}  // namespace tephra::coordinator
