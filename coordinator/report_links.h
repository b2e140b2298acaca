// Addresses of reports for a frame or a tab of a browser, which cannot send a token: /reports/TICKET, good for a while and
// for that one report. Any thread. Kept in memory: none outlives the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace tephra::coordinator {

inline constexpr int64_t kReportLinkMs = 10 * 60 * 1000;

struct ReportLink {
  std::string ticket;  // 256 random bits
  std::string job;
  int64_t until_unix_ms = 0;
};

class ReportLinks {
 public:
  // At most `links_max` are kept; the one that ends first goes first.
  explicit ReportLinks(size_t links_max = 1024) : links_max_(links_max) {}

  ReportLink make(const std::string& job, int64_t now_unix_ms);
  // The job; empty: there is no such ticket, or its time is over.
  std::string job(const std::string& ticket, int64_t now_unix_ms) const;

 private:
  const size_t links_max_;
  mutable std::mutex mutex_;
  std::map<std::string, ReportLink>
      links_;  // by the ticket's SHA-256: finding one takes no longer the nearer a guess is
};

}  // namespace tephra::coordinator
