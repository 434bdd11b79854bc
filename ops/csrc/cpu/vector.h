// Fixed-width vectors through the vector extension of GCC and Clang: arithmetic operators work lane by lane, and the
// compiler picks the instructions. Plain loops over channels are left in memory by GCC 12 instead of in registers.

#pragma once

#include <cstdint>
#include <cstring>

namespace querydet::cpu {

// The width must match the instruction set: vectors that are too wide are split into slow pieces.
#if defined(__AVX512F__)
constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kVectorBytes = 32;
#else
constexpr int64_t kVectorBytes = 16;
#endif

template <typename A>
struct VectorOf {
  static constexpr int64_t kLanes = kVectorBytes / sizeof(A);
  typedef A type __attribute__((vector_size(kVectorBytes)));
};

template <typename A>
using Vector = typename VectorOf<A>::type;

template <typename A>
constexpr int64_t kLanes = VectorOf<A>::kLanes;

// Unaligned.
template <typename A, typename V>
inline Vector<A> load(const V* source) {
  Vector<A> vector;
  if constexpr (sizeof(V) == sizeof(A)) {
    std::memcpy(&vector, source, sizeof(vector));
  } else {
    for (int64_t i = 0; i < kLanes<A>; ++i) vector[i] = A(source[i]);
  }
  return vector;
}

template <typename A, typename V>
inline void store(const Vector<A>& vector, V* target) {
  if constexpr (sizeof(V) == sizeof(A)) {
    std::memcpy(target, &vector, sizeof(vector));
  } else {
    for (int64_t i = 0; i < kLanes<A>; ++i) target[i] = static_cast<V>(vector[i]);
  }
}

// The sum of the lanes, first to last.
template <typename A>
inline A sum(const Vector<A>& vector) {
  A total = 0;
  for (int64_t i = 0; i < kLanes<A>; ++i) total += vector[i];
  return total;
}

}  // namespace querydet::cpu
