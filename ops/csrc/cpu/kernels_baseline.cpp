// The CPU kernels for what every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.

#define QUERYDET_INSTRUCTION_SET baseline_kernels
#define QUERYDET_NAME "baseline"
#define QUERYDET_VECTOR_BYTES 16

#include "kernels.h"

namespace querydet::cpu {

const InstructionSet& baseline() { return baseline_kernels::kInstructionSet; }

}  // namespace querydet::cpu
