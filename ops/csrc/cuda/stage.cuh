// Samples of a warp, computed once and shared: each thread computes two, then all threads of a group read them.

#pragma once

#include "sources.cuh"

namespace querydet::cuda {

// One warp's portion in shared memory. Rows are one element too long: groups that read the same sample of their rows
// then read different banks.
template <typename A, int kGroup>
struct Stage {
  static constexpr int kSamples = Portion<kGroup>::kSamples;
  static constexpr int kItems = Portion<kGroup>::kItems;
  Corners<int32_t> rows[kItems][kSamples + 1];
  Corners<A> weights[kItems][kSamples + 1];
};

// What a thread knows of its place.
template <int kGroup>
struct Lane {
  int lane, group, in_group;  // in the warp; of the warp; in the group
  int slot;                   // of the warp's first item, in the block's tile

  __device__ __forceinline__ Lane() {
    lane = static_cast<int>(threadIdx.x) % kWarpSize;
    group = lane / kGroup;
    in_group = lane % kGroup;
    slot = static_cast<int>(threadIdx.x) / kWarpSize * Portion<kGroup>::kItems;
  }
  // Which item of the warp, and which sample of the portion, a thread computes.
  __device__ __forceinline__ int entry_item(int entry) const {
    return (lane + entry * kWarpSize) / Portion<kGroup>::kSamples;
  }
  __device__ __forceinline__ int entry_sample() const { return lane % Portion<kGroup>::kSamples; }
};

// Samples outside of their level get the rows of another sample of the same item, so that the loop over samples needs no
// branch and reads nothing that is not sampled; -1 where the whole portion is outside.
template <int kGroup>
__device__ __forceinline__ void borrow_rows(bool inside, int lane, Corners<int32_t>& rows) {
  constexpr int kSamples = Portion<kGroup>::kSamples;
  const unsigned all = __ballot_sync(kAllLanes, inside);
  if (all == kAllLanes) return;
  const int first = lane / kSamples * kSamples;
  const unsigned mine = all >> first & (kAllLanes >> (kWarpSize - kSamples));
  const int donor = mine == 0 ? lane : first + __ffs(static_cast<int>(mine)) - 1;
#pragma unroll
  for (int corner = 0; corner < 4; ++corner) {
    const int32_t row = __shfl_sync(kAllLanes, rows.at[corner], donor);
    if (!inside) rows.at[corner] = mine == 0 ? -1 : row;
  }
}

// Whether the gathering loop may take `row`.
__device__ __forceinline__ bool is_row(int32_t row) { return row >= 0; }

}  // namespace querydet::cuda
