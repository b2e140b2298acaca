// A token bucket for each address that asks. Pure but for its state; time is passed in. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace tephra {

class RateLimit {
 public:
  // `per_second` in the mean, `burst` at once; at most `clients_max` addresses are remembered, the longest quiet goes first.
  RateLimit(double per_second, double burst, size_t clients_max = 4096)
      : per_second_(per_second), burst_(burst), clients_max_(clients_max) {}

  // Takes `cost` from the client's bucket. 0: allowed; else after how many seconds there is as much in it.
  double take(const std::string& client, double now_seconds, double cost = 1);
  // Takes without asking: what was done already costs more than it seemed. The bucket may go below nothing, to -burst.
  void charge(const std::string& client, double now_seconds, double cost);

 private:
  struct Bucket {
    double tokens = 0;
    double at = 0;
  };
  Bucket& bucket(const std::string& client, double now_seconds);

  const double per_second_, burst_;
  const size_t clients_max_;
  std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace tephra
