#include "cli/live_view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/text.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

constexpr size_t kLosses = 48;
constexpr size_t kRanks = 16;  // lines of ranks; of a larger gang the most silent ones

double number(const json& j, const char* key, double fallback = 0) {
  const auto found = j.find(key);
  return found != j.end() && found->is_number() ? found->get<double>() : fallback;
}

// Of UTF-8 text, by characters.
std::string cut(const std::string& text, int width) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 && ++count > width) return text.substr(0, i);
  return text;
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 0, ' ');
}

}  // namespace

std::string sparkline(const std::deque<double>& values, bool unicode) {
  static const char* const kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char* const kPlain[] = {"_", ".", ",", "-", "=", "+", "*", "#"};
  double low = INFINITY, high = -INFINITY;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value), high = std::max(high, value);
  }
  std::string out;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      out += ' ';
      continue;
    }
    const int level = high > low ? std::min(7, static_cast<int>((value - low) / (high - low) * 8)) : 0;
    out += unicode ? kBlocks[level] : kPlain[level];
  }
  return out;
}

bool is_final_phase(const std::string& phase) { return phase == "done" || phase == "failed" || phase == "cancelled"; }

void LiveView::job(const json& document) {
  if (!document.is_object()) return;
  id_ = document.value("id", id_);
  phase_ = document.value("phase", phase_);
  const std::string stage = document.value("stage", stage_);
  waits_for_ = document.value("waits_for", "");
  attempt_ = document.value("attempt", attempt_);
  restarts_ = document.value("restarts", restarts_);
  if (document.contains("stages") && document["stages"].is_array()) {
    const std::vector<Stage> before = std::move(stages_);
    stages_.clear();
    for (const json& from : document["stages"]) {
      Stage to;
      to.name = from.value("name", "");
      to.complete = from.value("complete", false);
      to.step = number(from, "step");
      for (const Stage& old : before)
        if (old.name == to.name) to.total = old.total, to.step = std::max(to.step, old.step);
      if (from.contains("benches") && from["benches"].is_object())
        for (const auto& [name, done] : from["benches"].items()) to.benches.emplace_back(name, done == true);
      stages_.push_back(std::move(to));
    }
  }
  if (stage != stage_) losses_.clear();
  stage_ = stage;
  if (document.contains("rank_states") && document["rank_states"].is_array()) {
    ranks_.clear();
    for (const json& from : document["rank_states"])
      ranks_.push_back({from.value("rank", 0), from.value("phase", ""), number(from, "step"), number(from, "rss_bytes"),
                        number(from, "heartbeat_age_ms", -1)});
  }
}

bool LiveView::event(const json& event) {
  if (!event.is_object()) return false;
  const std::string kind = event.value("kind", "");
  phase_ = event.value("phase", phase_);
  attempt_ = event.value("attempt", attempt_);
  if (kind == "step" && event.contains("step") && event["step"].is_object()) {
    const json& step = event["step"];
    const std::string stage = event.value("stage", "");
    if (stage != stage_) losses_.clear();
    stage_ = stage;
    losses_.push_back(number(step, "loss", NAN));
    if (losses_.size() > kLosses) losses_.pop_front();
    learning_rate_ = number(step, "learning_rate");
    tokens_per_second_ = number(step, "tokens_per_second");
    step_seconds_ = number(step, "step_seconds");
    for (Stage& s : stages_)
      if (s.name == stage) s.step = number(step, "step"), s.total = number(step, "total_steps");
    return false;
  }
  if (kind == "bench_progress") {
    bench_ = event.value("bench", "");
    answered_ = number(event, "done"), questions_ = number(event, "total");
    return false;
  }
  return kind == "checkpoint" || kind == "restart" || kind == "report" || kind == "log" || kind == "bench_result";
}

std::vector<std::string> LiveView::lines(int width) const {
  std::vector<std::string> out;
  const bool over = is_final_phase(phase_);
  const auto add = [&](const std::string& text) { out.push_back(cut(text, width)); };
  add(id_ + "  " + phase_ + (waits_for_.empty() ? "" : ": " + waits_for_) +
      (attempt_ > 0 ? "  attempt " + std::to_string(attempt_) : "") +
      (restarts_ > 0 ? ", " + std::to_string(restarts_) + " restarts" : ""));
  size_t widest = 0;
  for (const Stage& stage : stages_) widest = std::max(widest, stage.name.size());
  for (const Stage& stage : stages_) {
    const bool present = stage.name == stage_ && !over;
    const double share = stage.complete ? 1 : stage.total > 0 ? std::min(1.0, stage.step / stage.total) : 0;
    std::string text = (present ? "> " : "  ") + padded(stage.name, widest) + " " + bar(share, 24) + " ";
    text += stage.complete    ? "trained"
            : stage.total > 0 ? human_count(stage.step) + "/" + human_count(stage.total)
                              : "";
    if (present && phase_ == "training" && stage.total > stage.step)
      text += "  " + human_count(tokens_per_second_) + " tok/s  " +
              human_duration((stage.total - stage.step) * step_seconds_) + " left";
    for (const auto& [bench, scored] : stage.benches) {
      text += "  " + bench + (scored ? (unicode_ ? " ✓" : " done") : "");
      if (present && !scored && phase_ == "evaluating" && bench == bench_)
        text += " " + human_count(answered_) + (questions_ > 0 ? "/" + human_count(questions_) : "");
    }
    add(text);
  }
  if (!losses_.empty()) {
    char rate[32];
    std::snprintf(rate, sizeof rate, "%.2e", learning_rate_);
    add("  loss " + fixed(losses_.back(), 4) + "  " + sparkline(losses_, unicode_) + "  lr " + rate);
  }
  if (over) return out;  // its ranks are gone
  std::vector<Rank> ranks = ranks_;
  if (ranks.size() > kRanks) {
    std::stable_sort(ranks.begin(), ranks.end(),
                     [](const Rank& a, const Rank& b) { return a.silent_ms > b.silent_ms; });
    ranks.resize(kRanks);
  }
  for (const Rank& rank : ranks)
    add("  rank " + padded(std::to_string(rank.rank), 4) + " " + padded(rank.phase, 14) + " step " +
        padded(human_count(rank.step), 7) + " " + padded(human_bytes(rank.bytes), 9) + " " +
        (rank.silent_ms < 0 ? "no heartbeat yet" : "heard " + fixed(rank.silent_ms / 1000, 1) + " s ago"));
  if (ranks_.size() > ranks.size()) add("  ... of " + std::to_string(ranks_.size()) + " ranks, the most silent");
  add("Ctrl-C leaves; the job goes on");
  return out;
}

void LiveScreen::erase() {
  if (drawn_ > 0) std::printf("\033[%zuA\r\033[J", drawn_);
  drawn_ = 0;
}

void LiveScreen::draw(const std::vector<std::string>& lines) {
  erase();
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  drawn_ = lines.size();
  std::fflush(stdout);
}

void LiveScreen::line_above(const std::string& text) {
  erase();
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void LiveScreen::leave() {
  drawn_ = 0;
  std::fflush(stdout);
}

}  // namespace tephra::cli
