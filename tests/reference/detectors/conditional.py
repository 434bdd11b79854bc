"""Group DETR (arXiv 2207.13085) on Conditional DETR (arXiv 2108.06152): one map, standard attention, query groups."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.detectors.attention import mix, multi_head
from tests.reference.detectors.decoder import shifted
from tests.reference.detectors.memory import position_map, resize_padding, waves
from tests.reference.detectors.run import Run, layer_name
from tests.reference.detectors.weights import Weights


@dataclass
class GroupConditionalDETR:
    """The detector.

    Args:
        heads: of all attention.
        encoder_layers: number of layers.
        decoder_layers: number of layers.
        queries: number of queries of a group.
        groups: number of groups in training.
    """

    heads: int
    encoder_layers: int
    decoder_layers: int
    queries: int
    groups: int

    def __call__(self, weights: Weights, features: list[Tensor], padding: Tensor, training: bool) -> Run:
        """Predict from a map (B, c, h, w) and the padding (B, H, W) of its images."""
        run = Run()
        convolution = weights.at("input_proj")
        values = F.conv2d(features[-1], convolution["weight"], convolution["bias"])
        mask = resize_padding(padding, values.shape[-2:])
        position = position_map(mask, values.shape[1], 10000.0, 0.0, values.dtype).flatten(2).transpose(1, 2)
        memory, mask = values.flatten(2).transpose(1, 2), mask.flatten(1)[:, None]
        run.middle |= {"mid/src_flatten": memory, "mid/mask_flatten": mask[:, 0], "mid/pos_flatten": position}
        for index in range(self.encoder_layers):
            layer = weights.at("transformer.encoder.layers", index)
            attended = multi_head(layer.at("self_attn"), memory + position, memory, self.heads, mask)
            memory = layer.at("norm1").norm(memory + attended)
            memory = layer.at("norm2").norm(memory + layer.feed_forward(memory))
        run.middle["mid/memory"] = memory
        self._decode(weights, _Memory(memory, position, mask), self.groups if training else 1, run)
        return run

    def _decode(self, weights: Weights, memory: "_Memory", groups: int, run: Run) -> None:
        decoder = weights.at("transformer.decoder")
        embed = weights["query_embed.weight"][: groups * self.queries].expand(len(memory.values), -1, -1)
        points = decoder.at("ref_point_head").mlp(embed).sigmoid()
        run.middle["mid/dec_reference_points"] = points
        encoded = torch.cat(
            [waves(points[..., axis] * 2 * math.pi, embed.shape[-1] // 2, 10000.0) for axis in (1, 0)], -1
        )
        x = torch.zeros_like(embed)
        for index in range(self.decoder_layers):
            layer = decoder.at("layers", index)
            sine = encoded * decoder.at("query_scale").mlp(x) if index else encoded
            x = layer.at("norm1").norm(x + self._among_groups(layer, x, embed, groups))
            x = layer.at("norm2").norm(x + self._to_memory(layer, x, embed, sine, memory, first=index == 0))
            x = layer.at("norm3").norm(x + layer.feed_forward(x))
            out = decoder.at("norm").norm(x)
            boxes = shifted(weights.at("bbox_embed").mlp(out), points, 1e-5)
            run.add(layer_name(index, self.decoder_layers), weights.at("class_embed").linear(out), boxes)

    def _among_groups(self, layer: Weights, x: Tensor, embed: Tensor, groups: int) -> Tensor:
        query, key = (
            layer.at(f"sa_{side}content_proj").linear(x) + layer.at(f"sa_{side}pos_proj").linear(embed)
            for side in ("q", "k")
        )
        value = layer.at("sa_v_proj").linear(x)
        each = [tensor.chunk(groups, 1) for tensor in (query, key, value)]
        mixed = [mix(q, k, v, self.heads) for q, k, v in zip(*each, strict=True)]
        return layer.at("self_attn.out_proj").linear(torch.cat(mixed, 1))

    def _to_memory(
        self, layer: Weights, x: Tensor, embed: Tensor, sine: Tensor, memory: "_Memory", *, first: bool
    ) -> Tensor:
        query = layer.at("ca_qcontent_proj").linear(x)
        key = layer.at("ca_kcontent_proj").linear(memory.values)
        key_position = layer.at("ca_kpos_proj").linear(memory.position)
        if first:
            query, key = query + layer.at("ca_qpos_proj").linear(embed), key + key_position
        query = self._beside(query, layer.at("ca_qpos_sine_proj").linear(sine))
        key = self._beside(key, key_position)
        value = layer.at("ca_v_proj").linear(memory.values)
        return layer.at("cross_attn.out_proj").linear(mix(query, key, value, self.heads, memory.blocked))

    def _beside(self, content: Tensor, position: Tensor) -> Tensor:
        """Content and position of each head side by side."""
        both = zip(content.chunk(self.heads, -1), position.chunk(self.heads, -1), strict=True)
        return torch.cat([part for pair in both for part in pair], -1)


@dataclass
class _Memory:
    values: Tensor
    position: Tensor
    blocked: Tensor
