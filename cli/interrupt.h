// Ctrl-C, SIGTERM and a closed terminal, as a flag.
#pragma once

namespace tephra::cli {
void catch_interrupts();
bool interrupted();
}  // namespace tephra::cli
