// The page at /: jobs and their states, read from the API by a few lines of script; nothing is loaded from elsewhere.
#pragma once

#include <string_view>

namespace tephra::coordinator {

extern const std::string_view kStatusPage;

}  // namespace tephra::coordinator
