#include "coordinator/report_links.h"

#include <algorithm>

#include "coordinator/crypto.h"

namespace tephra::coordinator {

ReportLink ReportLinks::make(const std::string& job, int64_t now_unix_ms) {
  ReportLink link{random_hex(32), job, now_unix_ms + kReportLinkMs};
  std::lock_guard lock(mutex_);
  std::erase_if(links_, [&](const auto& entry) { return entry.second.until_unix_ms <= now_unix_ms; });
  if (links_.size() >= links_max_)
    links_.erase(std::min_element(links_.begin(), links_.end(), [](const auto& a, const auto& b) {
      return a.second.until_unix_ms < b.second.until_unix_ms;
    }));
  links_[sha256_hex(link.ticket)] = link;
  return link;
}

std::string ReportLinks::job(const std::string& ticket, int64_t now_unix_ms) const {
  std::lock_guard lock(mutex_);
  const auto found = links_.find(sha256_hex(ticket));
  return found != links_.end() && found->second.until_unix_ms > now_unix_ms ? found->second.job : "";
}

}  // namespace tephra::coordinator
