// A job as `tephra watch` draws it on a terminal: stages with their bars, the loss as a sparkline, speed, time left, ranks.
// LiveView knows what to draw; LiveScreen draws it over what it drew before. One thread at a time.
#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tephra::cli {

bool is_final_phase(const std::string& phase);  // done, failed or cancelled

class LiveView {
 public:
  explicit LiveView(bool unicode) : unicode_(unicode) {}
  // The job's document (coordinator::to_json of a JobView) and an event of it (of a JobEvent). What is not understood is passed over.
  void job(const nlohmann::json& document);
  // True when its message is worth a line of its own above the view.
  bool event(const nlohmann::json& event);
  std::vector<std::string> lines(int width) const;  // none is wider, in characters

 private:
  struct Stage {
    std::string name;
    double step = 0, total = 0;
    bool complete = false;
    std::vector<std::pair<std::string, bool>> benches;  // name, scored
  };
  struct Rank {
    int rank = 0;
    std::string phase;
    double step = 0, bytes = 0, silent_ms = -1;
  };

  const bool unicode_;
  std::string id_, phase_, stage_, waits_for_, bench_;
  int attempt_ = 0, restarts_ = 0;
  std::vector<Stage> stages_;
  std::vector<Rank> ranks_;
  std::deque<double> losses_;  // of the present stage's newest steps
  double learning_rate_ = 0, tokens_per_second_ = 0, step_seconds_ = 0;
  double answered_ = 0, questions_ = 0;
};

// Eight levels between the least and the greatest value; values that are not finite are blanks.
std::string sparkline(const std::deque<double>& values, bool unicode);

class LiveScreen {
 public:
  void draw(const std::vector<std::string>& lines);
  void line_above(const std::string& text);  // scrolls up and stays
  void leave();                              // what is drawn stays, and the next output comes below it

 private:
  void erase();
  size_t drawn_ = 0;
};

}  // namespace tephra::cli
