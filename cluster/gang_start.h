// What every launcher does before it starts a gang.
#pragma once

#include <map>
#include <string>

#include "cluster/launcher.h"

namespace tephra::cluster {

// Checks the spec, finds the ranks' program and makes the folders. Returns the program's absolute path. kInvalidArgument:
// a spec that makes no sense; kUnavailable: no such program; or why a folder cannot be made.
Result<std::string> prepare_start(const GangSpec& spec);

std::string random_marker();  // 32 hex digits

// TEPHRA_GANG=MARKER, as find_processes() wants it.
std::string marker_entry(const std::string& marker);

// What ranks get beside what they inherit: the spec's, the threads and the marker.
std::map<std::string, std::string> rank_environment(const GangSpec& spec, const std::string& marker);

}  // namespace tephra::cluster
