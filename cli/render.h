// A job's events as a person sees them: a live progress line on a terminal, plain lines in a pipe, JSON lines with --json.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace tephra::cli {

enum class OutputMode { kTerminal, kLines, kJson };
OutputMode output_mode(bool json);  // by what stdout is

// One thread at a time. Writes to stdout.
class EventRenderer {
 public:
  explicit EventRenderer(OutputMode mode) : mode_(mode) {}
  ~EventRenderer() { clear_progress(); }

  // `json_line`: a coordinator event (coordinator::to_json of a JobEvent). Lines that are none are passed over.
  void event(const std::string& json_line);
  void take(const std::string& json_line);  // remembers a result for the summary, and prints nothing
  // Benchmarks of all stages side by side, from the results seen; empty when there were none.
  std::string summary() const;
  void line(const std::string& text);  // above the progress line; nothing in kJson

 private:
  void progress(const std::string& text, double share);
  void clear_progress();

  const OutputMode mode_;
  bool progress_shown_ = false;
  int last_tenth_ = -1;  // kLines: progress is printed each tenth
  std::string progress_of_;
  std::vector<std::string> stages_;                                                      // in order of appearance
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> results_;  // bench -> stage -> metric
};

}  // namespace tephra::cli
