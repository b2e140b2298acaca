// Answers as they are kept while a bench runs: {"id": answer key, "text"} a line, appended. A torn line, from a killed process, is
// passed over: its question is asked again.
#pragma once

#include <map>
#include <set>
#include <string>

namespace tephra::eval {

// The last line of a key counts. Empty when there is no such file.
std::map<std::string, std::string> read_answers(const std::string& path);
std::set<std::string> answered_keys(const std::string& path);

}  // namespace tephra::eval
