#include "cluster/hosts.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "cluster/child_process.h"

namespace tephra::cluster {
namespace {

constexpr std::chrono::minutes kLostFirst{10}, kLostDay{24 * 60};

// Names go onto the remote shell's command line, so they hold nothing that a shell or an option parser would take for
// its own.
bool plain_name(const std::string& name) {
  return !name.empty() && name.front() != '-' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '-' || c == '_' || c == ':';
  });
}

bool parse_slots(std::string_view word, int* slots) {
  constexpr std::string_view kKey = "slots=";
  if (!word.starts_with(kKey)) return false;
  word.remove_prefix(kKey.size());
  const auto [at, error] = std::from_chars(word.data(), word.data() + word.size(), *slots);
  return error == std::errc() && at == word.data() + word.size() && *slots >= 1 && *slots <= 100000;
}

struct Block {
  uint32_t address = 0, mask = 0;  // host order
};

Result<Block> parse_block(const std::string& text) {
  const size_t slash = text.find('/');
  in_addr address{};
  int bits = -1;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + slash + 1, end, bits);
  if (inet_pton(AF_INET, text.substr(0, slash).c_str(), &address) != 1 || error != std::errc() || at != end ||
      bits < 0 || bits > 32)
    return Status(Code::kInvalidArgument, "'" + text + "' is no block of IPv4 addresses, for example 10.0.0.0/16");
  const uint32_t mask = bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
  return Block{ntohl(address.s_addr) & mask, mask};
}

}  // namespace

Result<std::vector<HostSlots>> parse_hosts(const std::string& text, const std::string& file) {
  std::vector<HostSlots> hosts;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto wrong = [&](const std::string& words) {
      return Status(Code::kInvalidArgument, file + ":" + std::to_string(number) + ": " + words);
    };
    std::istringstream words(line.substr(0, line.find('#')));
    HostSlots host;
    if (!(words >> host.host)) continue;
    if (!plain_name(host.host)) return wrong("'" + host.host + "' is no host name or address");
    for (std::string word; words >> word;) {
      if (!parse_slots(word, &host.slots))
        return wrong("'" + word + "' is not understood; a line is HOST or HOST slots=N with N from 1 to 100000");
    }
    for (const HostSlots& other : hosts)
      if (other.host == host.host) return wrong("host " + host.host + " is there twice");
    hosts.push_back(std::move(host));
  }
  if (hosts.empty()) return Status(Code::kInvalidArgument, file + " names no host; a line is HOST or HOST slots=N");
  return hosts;
}

Result<std::vector<HostSlots>> read_hosts(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status(Code::kNotFound, "the host file " + path + " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return Status(Code::kIo, "reading the host file " + path);
  return parse_hosts(text.str(), path);
}

std::string to_text(const std::vector<HostSlots>& hosts) {
  std::string text;
  for (const HostSlots& host : hosts) text += host.host + " slots=" + std::to_string(host.slots) + "\n";
  return text;
}

int HostPool::slots() const {
  int sum = 0;
  for (const HostSlots& host : hosts_) sum += host.slots;
  return sum;
}

Result<std::vector<HostSlots>> HostPool::take(int ranks, int threads) {
  std::lock_guard lock(mutex_);
  int ever = 0;
  for (const HostSlots& host : hosts_) ever += host.slots / threads;
  if (ever < ranks)
    return Status(Code::kInvalidArgument, "the host file has places for " + std::to_string(ever) + " ranks of " +
                                              std::to_string(threads) + " threads and the gang wants " +
                                              std::to_string(ranks));
  std::vector<HostSlots> order = hosts_;
  std::stable_partition(order.begin(), order.end(), [&](const HostSlots& h) { return !lost_.contains(h.host); });
  std::vector<HostSlots> places;
  int left = ranks;
  for (const HostSlots& host : order) {
    const int fit = std::min(left, (host.slots - used_[host.host]) / threads);
    if (fit > 0) places.push_back({host.host, fit});
    left -= std::max(fit, 0);
  }
  if (left > 0)
    return Status(Code::kUnavailable, RetryClass::kNewAttempt,
                  "the hosts have no room for " + std::to_string(left) + " of the gang's " + std::to_string(ranks) +
                      " ranks: other gangs use them");
  for (const HostSlots& place : places) used_[place.host] += place.slots * threads;
  return places;
}

void HostPool::occupy(const std::vector<HostSlots>& places, int threads) {
  std::lock_guard lock(mutex_);
  for (const HostSlots& place : places) used_[place.host] += place.slots * threads;
}

void HostPool::give_back(const std::vector<HostSlots>& places, int threads) {
  std::lock_guard lock(mutex_);
  for (const HostSlots& place : places) used_[place.host] -= place.slots * threads;
}

void HostPool::lost(const std::string& host) {
  std::lock_guard lock(mutex_);
  Loss& loss = lost_[host];
  loss.when = clock_.steady();
  ++loss.times;
}

int HostPool::lost_slots() const {
  std::lock_guard lock(mutex_);
  int sum = 0;
  for (const HostSlots& host : hosts_) {
    const auto found = lost_.find(host.host);
    if (found == lost_.end()) continue;
    const auto avoided = std::min(kLostDay, kLostFirst * (1 << std::min(found->second.times - 1, 16)));
    if (clock_.steady() - found->second.when < avoided) sum += host.slots;
  }
  return sum;
}

Result<std::string> address_on(const std::string& network) {
  const bool is_block = network.find('/') != std::string::npos;
  Block block;
  if (is_block) {
    TEPHRA_ASSIGN_OR_RETURN(block, parse_block(network));
  }
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return errno_status(errno, "getifaddrs");
  std::string found, others;
  for (const ifaddrs* at = list; at != nullptr && found.empty(); at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_UP) == 0) continue;
    const in_addr address = reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &address, text, sizeof(text));
    const bool fits = is_block ? (ntohl(address.s_addr) & block.mask) == block.address : network == at->ifa_name;
    if (fits) found = text;
    others += (others.empty() ? "" : ", ") + std::string(at->ifa_name) + " " + text;
  }
  freeifaddrs(list);
  if (found.empty())
    return Status(Code::kNotFound, "this machine has " +
                                       (network.empty() ? "" : "no IPv4 address on '" + network + "'; it has ") +
                                       (others.empty() ? "none" : others));
  return found;
}

bool is_this_machine(const std::string& host) {
  char name[256] = {};
  if (host == "localhost" || (gethostname(name, sizeof(name) - 1) == 0 && host == name)) return true;
  return host.find('/') == std::string::npos && address_on(host + "/32").ok();
}

// The script goes in through stdin, so that the remote shell's own command line does not hold the marker; the first
// character in brackets keeps grep from finding itself.
Status kill_on_host(const std::vector<std::string>& remote_shell, const std::string& host, const std::string& marker,
                    Deadline deadline) {
  std::vector<std::string> words = remote_shell;
  words.push_back(host);
  words.push_back("/bin/sh");
  const std::string pattern = "[" + marker.substr(0, 1) + "]" + marker.substr(1);
  const std::string script =
      "for round in 1 2 3 4 5 6 7 8 9 10; do\n"
      "  left=\n"
      "  for f in $(grep -lsa '" +
      pattern +
      "' /proc/[0-9]*/environ /proc/[0-9]*/cmdline); do\n"
      "    p=${f#/proc/}; p=${p%/*}\n"
      "    [ \"$p\" = $$ ] || { kill -9 \"$p\" 2>/dev/null && left=\"$left $p\"; }\n"
      "  done\n"
      "  [ -z \"$left\" ] && echo tephra-gang-gone && exit 0\n"
      "  sleep 0.1\n"
      "done\n"
      "echo \"processes$left do not die\"; exit 1\n";
  const Result<Captured> ended = run_captured(words, {}, script, deadline);
  if (!ended.ok())
    return {Code::kUnavailable, RetryClass::kNeedsOperator, "host " + host + ": " + ended.status().message()};
  if (ended->output.find("tephra-gang-gone") != std::string::npos) return {};
  std::string said = ended->output.substr(0, 300);
  std::replace(said.begin(), said.end(), '\n', ' ');
  const bool stuck = said.find("do not die") != std::string::npos;
  return {stuck ? Code::kTimeout : Code::kUnavailable, RetryClass::kNeedsOperator,
          "host " + host + (stuck ? ": " : " cannot be reached: ") + said};
}

}  // namespace tephra::cluster
