#include "coordinator/checkpoint_verifier.h"

#include <algorithm>

#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

constexpr size_t kWaitingMax = 256, kKeptMax = 4096, kProblemsMax = 8;

std::vector<std::string> sentences(const std::vector<storage::VerifyProblem>& problems) {
  std::vector<std::string> out;
  for (const storage::VerifyProblem& problem : problems) {
    if (out.size() == kProblemsMax) {
      out.push_back("and " + std::to_string(problems.size() - kProblemsMax) +
                    " more; tephra ckpt verify tells them all");
      break;
    }
    out.push_back((problem.tensor.empty() ? "" : problem.tensor + ": ") + problem.message);
  }
  return out;
}

}  // namespace

std::string_view verification_name(Verification::State state) {
  switch (state) {
    case Verification::State::kWaiting: return "waiting";
    case Verification::State::kReading: return "reading";
    case Verification::State::kWhole: return "whole";
    case Verification::State::kDamaged: return "damaged";
    case Verification::State::kFailed: return "failed";
  }
  return "?";
}

CheckpointVerifier::~CheckpointVerifier() {
  stopping_ = true;
  pool_.stop();
}

Result<std::string> CheckpointVerifier::verify(const std::string& name) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string resolved, store_.resolve(name));
  std::lock_guard lock(mutex_);
  const auto known = found_.find(resolved);
  using State = Verification::State;
  if (known != found_.end() && (known->second.state == State::kWaiting || known->second.state == State::kReading))
    return resolved;
  if (waiting_ >= kWaitingMax)
    return Status(Code::kBusy, std::to_string(waiting_) + " checkpoints wait to be verified; try again later");
  if (found_.size() >= kKeptMax)
    found_.erase(std::min_element(found_.begin(), found_.end(),
                                  [](const auto& a, const auto& b) { return a.second.unix_ms < b.second.unix_ms; }));
  ++waiting_;
  found_[resolved] = {State::kWaiting, clock_.unix_ms()};
  pool_.post([this, resolved] { run(resolved); });
  return resolved;
}

std::map<std::string, Verification> CheckpointVerifier::all() const {
  std::lock_guard lock(mutex_);
  return found_;
}

void CheckpointVerifier::set(const std::string& name, Verification verification) {
  std::lock_guard lock(mutex_);
  verification.unix_ms = clock_.unix_ms();
  found_[name] = std::move(verification);
}

void CheckpointVerifier::run(const std::string& name) {
  {
    std::lock_guard lock(mutex_);
    --waiting_;
  }
  if (stopping_) return;
  set(name, {Verification::State::kReading});
  const Result<storage::VerifyReport> report = store_.verify(name, [this] { return stopping_.load(); });
  if (!report.ok()) return set(name, {Verification::State::kFailed, 0, 0, {report.status().message()}});
  set(name, {report->ok() ? Verification::State::kWhole : Verification::State::kDamaged, 0, report->bytes_read,
             sentences(report->problems)});
}

}  // namespace tephra::coordinator
