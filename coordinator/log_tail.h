// Following a gang's log file. mpirun tags each line "[1,RANK]<stdout>: ".
#pragma once

#include <cstdint>
#include <string>

namespace tephra::coordinator {

// Lines of a file: its last MiB, then what is appended; of one rank, or all (-1). One thread at a time; blocks on disk.
class LogTail {
 public:
  LogTail(std::string path, int rank);

  // What was appended since, whole lines only; a piece of a few hundred KiB at a time.
  std::string more();
  // Whether more() has read anything since this was asked last, also when nothing of it was of the rank.
  bool read_something();

 private:
  std::string filtered(const std::string& bytes) const;

  const std::string path_;
  const std::string tag_;
  uint64_t offset_ = 0;
  bool read_something_ = false;
};

}  // namespace tephra::coordinator
