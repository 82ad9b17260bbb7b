// How the definitions of impl/ headers are marked: inline, but in instances.cpp, which compiles them once for all who link it.
#pragma once

#ifndef JANUSFLOW_INLINE
#define JANUSFLOW_INLINE inline
#endif
