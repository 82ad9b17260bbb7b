// What one level of a program asks before it may run; see dispatch.cpp.
#include "janusflow/core/cpu.hpp"

extern "C" JANUSFLOW_ANY_PROCESSOR const char* janusflow_missing() noexcept { return janusflow::missing_cpu_feature(); }
