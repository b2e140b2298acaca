// A plugin of another version than the program's. Its functions must not be asked for, so there are none.
#include <cstdint>

extern "C" int32_t tephra_nccl_plugin_version() { return 1000000; }
extern "C" const void* tephra_nccl_plugin() { __builtin_trap(); }
