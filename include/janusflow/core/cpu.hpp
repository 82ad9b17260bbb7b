// Whether this processor has the instructions that the program was compiled for.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace janusflow {

// The check must itself run on any processor, whatever -march says of the rest.
#if defined(__x86_64__) && defined(__clang__)  // keeps -march=native's features under arch=, so each is taken back by name
#define JANUSFLOW_ANY_PROCESSOR __attribute__((target("no-avx,no-bmi,no-bmi2,no-lzcnt,no-movbe"), noinline))
#elif defined(__x86_64__)
#define JANUSFLOW_ANY_PROCESSOR __attribute__((target("arch=x86-64"), noinline))
#else
#define JANUSFLOW_ANY_PROCESSOR
#endif

/// The most basic instruction set extension that this translation unit was compiled for and this processor (or its operating
/// system) does not offer, such as "AVX2"; null when nothing is missing. Executes none of them.
JANUSFLOW_ANY_PROCESSOR inline const char* missing_cpu_feature() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(__SSE4_2__)
  if (!__builtin_cpu_supports("sse4.2")) return "SSE4.2";
#endif
#if defined(__POPCNT__)
  if (!__builtin_cpu_supports("popcnt")) return "POPCNT";
#endif
#if defined(__AVX__)
  if (!__builtin_cpu_supports("avx")) return "AVX";
#endif
#if defined(__AVX2__)
  if (!__builtin_cpu_supports("avx2")) return "AVX2";
#endif
#if defined(__FMA__)
  if (!__builtin_cpu_supports("fma")) return "FMA";
#endif
#if defined(__BMI2__)
  if (!__builtin_cpu_supports("bmi2")) return "BMI2";
#endif
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512f")) return "AVX-512";
#endif
#if defined(__AVX512BW__)
  if (!__builtin_cpu_supports("avx512bw")) return "AVX-512 BW";
#endif
#if defined(__AVX512DQ__)
  if (!__builtin_cpu_supports("avx512dq")) return "AVX-512 DQ";
#endif
#if defined(__AVX512VL__)
  if (!__builtin_cpu_supports("avx512vl")) return "AVX-512 VL";
#endif
#if defined(__AVX512VBMI__)
  if (!__builtin_cpu_supports("avx512vbmi")) return "AVX-512 VBMI";
#endif
#if defined(__AVX512VBMI2__)
  if (!__builtin_cpu_supports("avx512vbmi2")) return "AVX-512 VBMI2";
#endif
#if defined(__AVX512VNNI__)
  if (!__builtin_cpu_supports("avx512vnni")) return "AVX-512 VNNI";
#endif
#if defined(__AVX512BF16__)
  if (!__builtin_cpu_supports("avx512bf16")) return "AVX-512 BF16";
#endif
  [[maybe_unused]] unsigned eax, ebx, ecx, edx;  // of leaf 7, which is there where AVX2 is: clang 14 has no names for these
#if defined(__AVXVNNI__)
  __cpuid_count(7, 1, eax, ebx, ecx, edx);
  if (!(eax >> 4 & 1)) return "AVX-VNNI";
#endif
#if defined(__AVX512FP16__)
  __cpuid_count(7, 0, eax, ebx, ecx, edx);
  if (!(edx >> 23 & 1)) return "AVX-512 FP16";
#endif
#elif defined(__aarch64__) && defined(__linux__)
  [[maybe_unused]] const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);  // bits: the kernel's hwcap.h
#if defined(__ARM_FEATURE_ATOMICS)
  if (!(first >> 8 & 1)) return "Armv8.1 atomics";
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
  if (!(first >> 10 & 1)) return "half-precision vectors";
#endif
#if defined(__ARM_FEATURE_DOTPROD)
  if (!(first >> 20 & 1)) return "the dot product extension";
#endif
#if defined(__ARM_FEATURE_SVE)
  if (!(first >> 22 & 1)) return "SVE";
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if (!(second >> 13 & 1)) return "the int8 matrix extension";
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  if (!(second >> 14 & 1)) return "bfloat16 instructions";
#endif
#endif
  return nullptr;
}

}  // namespace janusflow
