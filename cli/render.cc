#include "cli/render.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/text.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

// A number that the coordinator could not write (not finite) is null in JSON.
double number(const json& j, const char* key, double fallback = 0) {
  auto found = j.find(key);
  return found != j.end() && found->is_number() ? found->get<double>() : fallback;
}

std::string step_text(const json& step, const std::string& eta) {
  return "loss " + fixed(number(step, "loss", 0.0), 4) + "  lr " +
         [&] {
           char text[32];
           std::snprintf(text, sizeof text, "%.2e", number(step, "learning_rate", 0.0));
           return std::string(text);
         }() +
         "  grad " + fixed(number(step, "gradient_norm", 0.0), 2) + "  " +
         human_count(number(step, "tokens_per_second", 0.0)) + " tok/s  " +
         human_bytes(number(step, "rss_bytes", 0.0)) + eta;
}
}  // namespace

OutputMode output_mode(bool json) {
  if (json) return OutputMode::kJson;
  return is_terminal(STDOUT_FILENO) ? OutputMode::kTerminal : OutputMode::kLines;
}

void EventRenderer::clear_progress() {
  if (progress_shown_) std::printf("\r\033[K");
  progress_shown_ = false;
  std::fflush(stdout);
}

void EventRenderer::line(const std::string& text) {
  if (mode_ == OutputMode::kJson || text.empty()) return;
  clear_progress();
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void EventRenderer::progress(const std::string& text, double share) {
  if (mode_ == OutputMode::kTerminal) {
    std::printf("\r\033[K%s", text.substr(0, static_cast<size_t>(std::max(20, terminal_width() - 1))).c_str());
    progress_shown_ = true;
    std::fflush(stdout);
    return;
  }
  int tenth = static_cast<int>(share * 10);
  if (tenth == last_tenth_) return;
  last_tenth_ = tenth;
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void EventRenderer::take(const std::string& json_line) {
  const json e = json::parse(json_line, nullptr, false);
  if (!e.is_object() || e.value("kind", "") != "bench_result") return;
  const std::string stage = e.value("stage", ""), bench = e.value("bench", "");
  if (std::find(stages_.begin(), stages_.end(), stage) == stages_.end()) stages_.push_back(stage);
  const json result = e.value("result", json());
  if (!result.is_object() || !result.contains("metrics")) return;
  for (const auto& [name, value] : result["metrics"].items())
    if (value.is_number()) results_[bench][stage][name] = value;
}

void EventRenderer::event(const std::string& json_line) {
  if (mode_ == OutputMode::kJson) {
    std::printf("%s\n", json_line.c_str());
    std::fflush(stdout);
  }
  json e = json::parse(json_line, nullptr, false);
  if (!e.is_object()) return;
  std::string kind = e.value("kind", ""), stage = e.value("stage", ""), bench = e.value("bench", "");
  if (kind == "bench_result") take(json_line);
  if (mode_ == OutputMode::kJson) return;
  if (kind == "step") {
    const json step = e.value("step", json::object());
    auto done = number(step, "step", 0.0), total = std::max(1.0, number(step, "total_steps", 1.0));
    std::string of = "train " + stage;
    if (of != progress_of_) progress_of_ = of, last_tenth_ = -1;
    std::string eta = "  eta " + human_duration((total - done) * number(step, "step_seconds", 0.0));
    progress("  " + of + " " + bar(done / total, 20) + " " + human_count(done) + "/" + human_count(total) + "  " +
                 step_text(step, eta),
             done / total);
  } else if (kind == "bench_progress") {
    double done = number(e, "done"), total = number(e, "total");
    std::string of = "bench " + bench + " on " + stage;
    if (of != progress_of_) progress_of_ = of, last_tenth_ = -1;
    double share = total > 0 ? done / total : 0;
    progress("  " + of + " " + bar(share, 20) + " " + human_count(done) + (total > 0 ? "/" + human_count(total) : "") +
                 " answers",
             share);
  } else if (kind != "state" || (e.value("phase", "") != "failed" && e.value("phase", "") != "cancelled")) {
    if (const std::string message = e.value("message", ""); !message.empty())
      line("  " + message);  // how a job failed is the caller's to say, once
  }
}

std::string EventRenderer::summary() const {
  std::vector<std::string> header{"bench", "metric"};
  header.insert(header.end(), stages_.begin(), stages_.end());
  std::vector<std::vector<std::string>> rows;
  for (const auto& [bench, by_stage] : results_) {
    for (const char* metric : {"accuracy", "accuracy_swapped", "token_f1", "guess_level"}) {
      std::vector<std::string> row{bench, metric};
      bool any = false;
      for (const std::string& stage : stages_) {
        auto s = by_stage.find(stage);
        bool has = s != by_stage.end() && s->second.contains(metric);
        any = any || has;
        row.push_back(has ? fixed(100 * s->second.at(metric), 1) + " %" : "-");
      }
      if (any) rows.push_back(row);
    }
  }
  return rows.empty() ? "" : table(header, rows);
}

}  // namespace tephra::cli
