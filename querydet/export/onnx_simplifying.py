"""Simplification of an ONNX graph, with the rules of onnxscript that change graphs of detectors.

What `torch.onnx.export(optimize=True)` does takes three times as long: one rule that never applies here, of pairs of
slices, searches the graph for every slice.
"""

from typing import Any

ROUNDS = 2  # one rule makes room for another; a third round changes nothing in any shipped detector


def simplify(model: Any) -> None:
    """Fold constants and norms, and remove what does nothing, in place.

    Args:
        model: an `onnx_ir.Model`, such as the `model` of what `torch.onnx.export` returns.
    """
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants
    from onnxscript.rewriter import rewrite

    common.InlinePass()(model)
    rules = _rules()
    for _ in range(ROUNDS):
        fold_constants(model, onnx_shape_inference=True)
        rewrite(model, pattern_rewrite_rules=rules)
    for clean in (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        clean(model)


def _rules() -> list[Any]:
    from onnxscript.rewriter.rules import common as rules

    return [
        rules.mul_by_1_rule,
        rules.add_0_rule,
        rules.sub_0_rule,
        rules.div_by_1_rule,
        rules.dropout_inference_rule,
        rules.cast_cast_rule,
        rules.no_op_cast_rule,
        rules.no_op_expand_rule,
        rules.no_op_transpose_rule,
        rules.transpose_transpose_rule,
        rules.reshape_reshape_rule,
        rules.unsqueeze_unsqueeze_rule,
        rules.squeeze_reshape_1d_rule,
        rules.collapse_slice_rule,
        rules.collapse_slice2_rule,
        rules.materialize_reshape_shape_rule,
        rules.cast_constant_of_shape_rule,
        rules.max_min_rule,
        rules.min_max_rule,
        rules.successive_clip_rule,
        rules.fuse_pad_into_conv_rule,
        rules.fuse_batchnorm_into_conv_rule,
        rules.remove_optional_bias_from_conv_rule,
    ]
