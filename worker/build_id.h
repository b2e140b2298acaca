// Which build this program is: its version and the hash of its executable file. Ranks of different builds would sum
// differently, or not understand each other, so a gang is of one.
#pragma once

#include <string>

namespace tephra::worker {

// "0.1.0+1f2e3d4c5b6a7988"; without the part after + where the file cannot be read. Reads the file: once, at the start.
std::string build_id();

}  // namespace tephra::worker
