// The test programs' common main.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "janusflow/core/cpu_guard.hpp"
