// Fixed-width vectors through the vector extension of GCC and Clang: arithmetic operators work lane by lane, and the
// compiler picks the instructions. Plain loops over channels and points are not vectorised by GCC 12.
//
// The width must match the instruction set, wider vectors are split into slow pieces: the file that includes this one
// sets QUERYDET_VECTOR_BYTES, and QUERYDET_HAS_AVX2 or QUERYDET_HAS_AVX512 where intrinsics may be used. All is in a
// namespace of that instruction set, QUERYDET_INSTRUCTION_SET.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(QUERYDET_HAS_AVX2) || defined(QUERYDET_HAS_AVX512)
#include <immintrin.h>
#endif

#include "problem.h"

namespace querydet::cpu::QUERYDET_INSTRUCTION_SET {

template <typename T, int64_t kNumber>
struct VectorOf {
  typedef T type __attribute__((vector_size(kNumber * sizeof(T))));
};

template <typename A>
constexpr int64_t kLanes = QUERYDET_VECTOR_BYTES / sizeof(A);

template <typename A>
using Vector = typename VectorOf<A, kLanes<A>>::type;

// As many integers as Vector<A> has numbers, of the same width or of 16 bit.
template <typename A>
using Indices = typename VectorOf<Index<A>, kLanes<A>>::type;
using Bits = typename VectorOf<uint32_t, kLanes<float>>::type;
using ShortBits = typename VectorOf<uint16_t, kLanes<float>>::type;

template <typename To, typename From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <typename V>
inline V load_raw(const void* source) {
  V vector;
  std::memcpy(&vector, source, sizeof(vector));
  return vector;
}

// Unaligned loads and stores, converted to and from the type of the arithmetic.
inline Vector<float> load(const float* source) { return load_raw<Vector<float>>(source); }
inline Vector<double> load(const double* source) { return load_raw<Vector<double>>(source); }
inline Indices<float> load(const int32_t* source) { return load_raw<Indices<float>>(source); }
inline Indices<double> load(const int64_t* source) { return load_raw<Indices<double>>(source); }

// 16 bit to 32. GCC 12 takes four instructions for what these processors do in one.
inline Bits widen(const void* source) {
#if defined(QUERYDET_HAS_AVX512)
  return (Bits)_mm512_cvtepu16_epi32((__m256i)load_raw<ShortBits>(source));
#elif defined(QUERYDET_HAS_AVX2)
  return (Bits)_mm256_cvtepu16_epi32((__m128i)load_raw<ShortBits>(source));
#else
  return __builtin_convertvector(load_raw<ShortBits>(source), Bits);
#endif
}

inline Vector<float> load(const BFloat16* source) { return bit_cast<Vector<float>>(widen(source) << 16); }

// Moving exponent and mantissa gives the number times 2^-112, subnormals included; infinity and NaN need theirs.
inline Vector<float> load(const Half* source) {
  const Bits bits = widen(source);
  const Bits magnitude = (bits & 0x7fff) << 13;
  const Bits scaled = bit_cast<Bits>(bit_cast<Vector<float>>(magnitude) * 0x1p112f);
  const Bits special = (bits & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : scaled;
  return bit_cast<Vector<float>>(special | (bits & 0x8000) << 16);
}

inline void store(const Vector<float>& vector, float* target) { std::memcpy(target, &vector, sizeof(vector)); }
inline void store(const Vector<double>& vector, double* target) { std::memcpy(target, &vector, sizeof(vector)); }
inline void store(const Indices<float>& vector, int32_t* target) { std::memcpy(target, &vector, sizeof(vector)); }
inline void store(const Indices<double>& vector, int64_t* target) { std::memcpy(target, &vector, sizeof(vector)); }

// To the nearest, ties to even; NaN stays one.
inline void store(const Vector<float>& vector, BFloat16* target) {
  const Bits bits = bit_cast<Bits>(vector);
  const Bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Bits result = (bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded;
  const ShortBits narrow = __builtin_convertvector(result, ShortBits);
  std::memcpy(target, &narrow, sizeof(narrow));
}

inline void store(const Vector<float>& vector, Half* target) {
  const Bits bits = bit_cast<Bits>(vector);
  const Bits magnitude = bits & 0x7fffffff;
  // Adding 0.5 puts the last bit of a subnormal half at the last bit of a float, which rounds it.
  const Bits tiny = bit_cast<Bits>(bit_cast<Vector<float>>(magnitude) + 0.5f) - 0x3f000000;
  const Bits normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  const Bits finite = magnitude < (113u << 23) ? tiny : normal;
  const Bits infinite = Bits{} + 0x7c00, nan = Bits{} + 0x7e00;
  const Bits result = magnitude >= (143u << 23) ? (magnitude > 0x7f800000 ? nan : infinite) : finite;
  const ShortBits narrow = __builtin_convertvector(result | (bits >> 16 & 0x8000), ShortBits);
  std::memcpy(target, &narrow, sizeof(narrow));
}

// The first `number` lanes only; the others of a loaded vector are `rest`.
template <typename A, typename V>
inline Vector<A> load_part(const V* source, int64_t number, V rest) {
  V buffer[kLanes<A>];
  for (int64_t i = 0; i < kLanes<A>; ++i) buffer[i] = rest;
  for (int64_t i = 0; i < number; ++i) buffer[i] = source[i];
  return load(buffer);
}

template <typename A, typename V>
inline void store_part(const Vector<A>& vector, V* target, int64_t number) {
  V buffer[kLanes<A>];
  store(vector, buffer);
  for (int64_t i = 0; i < number; ++i) target[i] = buffer[i];
}

template <typename A>
inline Vector<A> broadcast(A number) {
  return number - Vector<A>{};  // Vector<A>{} + number would turn -0 into 0
}

// Lane i of the result is lane Pattern::at(i, lanes) of `first` and `second` one after the other.
template <typename Pattern, typename V, std::size_t... kLane>
inline V shuffle(const V& first, const V& second, std::index_sequence<kLane...>) {
  constexpr int lanes = sizeof...(kLane);
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(first, second, Pattern::at(kLane, lanes)...);
#else
  using Mask = typename VectorOf<std::conditional_t<sizeof(V) / lanes == 4, int32_t, int64_t>, lanes>::type;
  return __builtin_shuffle(first, second, Mask{Pattern::at(kLane, lanes)...});
#endif
}

template <typename Pattern, typename A>
inline Vector<A> shuffle(const Vector<A>& first, const Vector<A>& second) {
  return shuffle<Pattern>(first, second, std::make_index_sequence<kLanes<A>>());
}

template <int kOffset>
struct EverySecond {
  static constexpr int at(int lane, int) { return 2 * lane + kOffset; }
};

template <int kHalf>
struct Alternating {
  static constexpr int at(int lane, int lanes) { return lane / 2 + lane % 2 * lanes + kHalf * lanes / 2; }
};

// x0 y0 x1 y1 ... in two vectors becomes all x and all y, and back.
template <typename A>
struct Pair {
  Vector<A> x, y;
};

template <typename A>
inline Pair<A> split(const Vector<A>& first, const Vector<A>& second) {
  return {shuffle<EverySecond<0>, A>(first, second), shuffle<EverySecond<1>, A>(first, second)};
}

template <typename A>
inline Pair<A> merge(const Vector<A>& x, const Vector<A>& y) {
  return {shuffle<Alternating<0>, A>(x, y), shuffle<Alternating<1>, A>(x, y)};
}

// Where a lane's number has the bit kStep: of the second vector, else of the first; from lane `lane` or kStep beside.
template <int kStep, int kShift>
struct Fold {
  static constexpr int at(int lane, int lanes) {
    return lane & kStep ? lanes + lane - (kStep - kShift) : lane + kShift;
  }
};

// Sums of the lanes of as many vectors as a vector has lanes: lane i is the sum of vectors[i]. Overwrites them.
template <typename A, int kStep = 1>
inline Vector<A> sum_each(Vector<A>* vectors) {
  if constexpr (kStep == kLanes<A>) {
    return vectors[0];
  } else {
    for (int i = 0; i < kLanes<A> / kStep; i += 2) {
      const Vector<A> first = vectors[i], second = vectors[i + 1];
      vectors[i / 2] = shuffle<Fold<kStep, 0>, A>(first, second) + shuffle<Fold<kStep, kStep>, A>(first, second);
    }
    return sum_each<A, kStep * 2>(vectors);
  }
}

template <int kBy>
struct Rotated {
  static constexpr int at(int lane, int lanes) { return (lane + kBy) % lanes; }
};

struct Sum {
  template <typename V>
  static V of(const V& first, const V& second) {
    return first + second;
  }
};

struct Largest {
  template <typename V>
  static V of(const V& first, const V& second) {
    return first > second ? first : second;
  }
};

// Sum or Largest of all lanes, in every lane. (Not a lambda: those do not inherit the instruction set in GCC.)
template <typename Combine, typename A, int kBy = kLanes<A> / 2>
inline Vector<A> fold(const Vector<A>& vector) {
  const Vector<A> folded = Combine::of(vector, shuffle<Rotated<kBy>, A>(vector, vector));
  if constexpr (kBy == 1) {
    return folded;
  } else {
    return fold<Combine, A, kBy / 2>(folded);
  }
}

// e^x for x <= 0, to two units in the last place. Cephes' range reduction (x = n ln 2 + r) and the Taylor terms of r.
inline Vector<float> exp_negative(const Vector<float>& x) {
  // Below, the result has no normal float; it is zero then.
  const auto zero = x < -87.0f;
  const Vector<float> safe = zero ? broadcast(0.0f) : x;
  const Indices<float> power = __builtin_convertvector(safe * 1.44269504088896341f - 0.5f, Indices<float>);
  const Vector<float> whole = __builtin_convertvector(power, Vector<float>);
  const Vector<float> rest = safe - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector<float> series = broadcast(1.0f / 5040);
  series = series * rest + 1.0f / 720;
  series = series * rest + 1.0f / 120;
  series = series * rest + 1.0f / 24;
  series = series * rest + 1.0f / 6;
  series = series * rest + 0.5f;
  series = series * rest * rest + rest + 1.0f;
  const Vector<float> result = series * bit_cast<Vector<float>>((bit_cast<Bits>(power) + 127) << 23);
  return zero ? broadcast(0.0f) : result;
}

inline Vector<double> exp_negative(const Vector<double>& x) {
  Vector<double> result;
  for (int64_t i = 0; i < kLanes<double>; ++i) result[i] = __builtin_exp(x[i]);
  return result;
}

}  // namespace querydet::cpu::QUERYDET_INSTRUCTION_SET
