// One line of progress on stderr, for work that is counted: a bar that is redrawn on a terminal, a line each tenth elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tephra::cli {

class Progress {
 public:
  explicit Progress(std::string what) : what_(std::move(what)) {}
  ~Progress();  // ends the line

  // `earlier`: of `done`, what was there before this run began and says nothing about its pace. `more`: put behind.
  // One thread at a time.
  void show(uint64_t done, uint64_t total, uint64_t earlier, const std::string& more);

 private:
  const std::string what_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point drawn_{};
  int last_tenth_ = 0;
  bool open_ = false;
};

// "[####......] 40 %  400 of 1,000 samples  ETA 3 m 12 s", without the ETA when there is none yet.
std::string progress_text(uint64_t done, uint64_t total, const std::string& what, double elapsed_s, uint64_t earlier);

}  // namespace tephra::cli
