// The operators' schemas and the (empty) Python module that carries them.
//
// torch.ops.querydet.* is filled when this library is loaded: the static objects below register the schemas, those of
// cpu/ and cuda/ the kernels. Shape inference and autograd are registered in querydet/layers by the file of each, which
// also defines the same schemas when this library was not built: change both together.

#include <Python.h>

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(querydet, library) {
  // spatial_shapes is H, W of every level, flat: host integers, so that no kernel waits for the device to read them.
  library.def(
      "ms_deform_attn(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights)"
      " -> Tensor");
  library.def(
      "ms_deform_attn_backward(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations,"
      " Tensor attention_weights, Tensor grad_output, bool deterministic, bool[3] output_mask)"
      " -> (Tensor, Tensor, Tensor)");
  // From what the query predicts: locations are made of references and offsets, weights are the softmax of the logits.
  library.def(
      "ms_deform_attn_fused(Tensor value, SymInt[] spatial_shapes, Tensor reference_points, Tensor sampling_offsets,"
      " Tensor attention_logits) -> Tensor");
  library.def(
      "ms_deform_attn_fused_backward(Tensor value, SymInt[] spatial_shapes, Tensor reference_points,"
      " Tensor sampling_offsets, Tensor attention_logits, Tensor grad_output, bool deterministic, bool[4] output_mask)"
      " -> (Tensor, Tensor, Tensor, Tensor)");
  // Costs of problems one after the other, (rows, columns) each: for every row its column, -1 for none, -2 in a problem
  // that was not solved because of a cost that cannot be used.
  library.def("linear_sum_assignment(Tensor costs, int[] rows, int[] columns) -> Tensor");
  // Boxes (B, N, 4) and their scores in each group (B, G, N): which of them are left (B, G, N), a mask of bool.
  library.def("suppress(Tensor boxes_xyxy, Tensor scores, float iou_threshold) -> Tensor");
  // Costs (n, T, Q) of the classes plus those of boxes (n, Q, 4) and objects (T, 4).
  library.def(
      "matching_cost(Tensor class_cost, Tensor boxes, Tensor gt_boxes, float l1_weight, float giou_weight,"
      " float giou_eps) -> Tensor");
  // The 8-bit codes of values, or of their sum with others: round(value / scale) + zero_point within 0 and 255.
  library.def("quantize(Tensor values, Tensor? others, float scale, int zero_point) -> Tensor");
  // Layer normalisation of x + update (..., C) with weight and bias (C); without gradients.
  library.def("add_layer_norm(Tensor x, Tensor update, Tensor weight, Tensor bias, float eps) -> Tensor");
  // Which of the CPU kernels this process runs: baseline, avx2 or avx512.
  library.def("cpu_instruction_set() -> str");
}

// `import querydet._C` needs a module to import; it has no content.
extern "C" PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", "querydet's native operators.", -1, nullptr,
                                   nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}
