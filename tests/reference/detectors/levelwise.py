"""DN-DETR with a deformable encoder and DAB-DETR's decoder (arXiv 2201.12329), which attends to one level at a time.

Each level has a softmax of its own; what a query finds in them is weighed by a softmax over levels, of the query with
which it attends to other queries.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors import denoising
from tests.reference.detectors.attention import mix
from tests.reference.detectors.decoder import Memory, Queries, shifted
from tests.reference.detectors.deformable import record_memory
from tests.reference.detectors.denoising import Noised
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.memory import encode, make_tokens, waves
from tests.reference.detectors.run import Objects, Run, layer_name
from tests.reference.detectors.weights import Weights


@dataclass
class LevelwiseDETR:
    """The detector.

    Args:
        levels: number of levels.
        heads: of all attention.
        encoder_layers: number of layers.
        decoder_layers: number of layers.
        queries: number of boxes.
        patterns: number of contents of each box; 0: one, which is no pattern.
        classes: number of classes.
        groups: of denoising.
        label_noise: as in the released options.
        box_noise: as in the released options.
        temperatures: of the position encoding, for y and x.
    """

    levels: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    queries: int
    patterns: int
    classes: int
    groups: int
    label_noise: float
    box_noise: float
    temperatures: tuple[float, float]

    def __call__(
        self, weights: Weights, features: list[Tensor], padding: Tensor, targets: list[Objects] | None, draws: Draws
    ) -> tuple[Run, Noised | None]:
        """Predict; with the objects of training, for denoising queries too."""
        run = Run()
        y, x = self.temperatures
        tokens = make_tokens(weights, features, padding, levels=self.levels, temperature=y, offset=0.0, temperature_x=x)
        memory = Memory(encode(weights, tokens, layers=self.encoder_layers, heads=self.heads), tokens, self.heads)
        record_memory(run, memory)
        content, anchors = self._matching(weights, len(padding))
        matching, noised, blocked = content.shape[1], None, None
        if targets is not None:
            noised = self._noise(weights, targets, draws)
            blocked = noised.blocked(matching)
            content = torch.cat([noised.content, content], 1)
            anchors = torch.cat([noised.boxes, anchors], 1)
            run.middle |= {"dn/query_label": content, "dn/query_bbox_unsig": anchors, "dn/attn_mask": blocked}
            run.middle["mid/dec_attn_mask"] = blocked
        if self.patterns:
            patterns = weights["transformer.patterns.weight"].repeat_interleave(self.queries, 0)
            content = torch.cat([content[:, :-matching], content[:, -matching:] + patterns], 1)
        run.middle |= {"mid/dec_init_tgt": content, "mid/dec_init_ref": anchors.sigmoid()}
        self._decode(weights, Queries(content, None, anchors.sigmoid(), blocked), memory, run)
        pad = content.shape[1] - matching
        for name, outputs in list(run.outputs.items()):
            if pad:
                run.add(f"dn/{name}", outputs.logits[:, :pad], outputs.boxes[:, :pad])
                run.add(name, outputs.logits[:, pad:], outputs.boxes[:, pad:])
        return run, noised

    def _matching(self, weights: Weights, images: int) -> tuple[Tensor, Tensor]:
        """Content before patterns are added, with a last channel of 0, and logits of boxes."""
        anchors = weights["refpoint_embed.weight"].repeat(max(1, self.patterns), 1)
        unknown = weights["label_enc.weight"][-1:]
        content = torch.cat([unknown, unknown.new_zeros(1, 1)], -1)
        return content.expand(images, len(anchors), -1), anchors.expand(images, -1, -1)

    def _noise(self, weights: Weights, targets: list[Objects], draws: Draws) -> Noised:
        return denoising.dn_detr(
            targets,
            weights["label_enc.weight"],
            draws,
            classes=self.classes,
            groups=self.groups,
            flip=self.label_noise,
            scale=self.box_noise,
        )

    def _decode(self, weights: Weights, queries: Queries, memory: Memory, run: Run) -> None:
        decoder, x, boxes = weights.at("transformer.decoder"), queries.content, queries.boxes
        start, width = boxes, x.shape[-1]  # of the predictions
        for index in range(self.decoder_layers):
            encoded = [waves(boxes[..., axis] * 2 * math.pi, width // 2, 10000.0) for axis in (1, 0, 2, 3)]
            position = decoder.at("ref_point_head").mlp(torch.cat(encoded, -1))
            scale = decoder.at("query_scale").mlp(x) if index else torch.ones_like(x)
            w, h = decoder.at("ref_anchor_head").mlp(x).sigmoid().unbind(-1)
            ratios = (h / boxes[..., 3], w / boxes[..., 2])
            halves = zip(encoded[:2], scale.chunk(2, -1), ratios, strict=True)
            sine = torch.cat([wave * factor * ratio[..., None] for wave, factor, ratio in halves], -1)
            layer = _Layer(decoder.at("layers", index), self.heads, first=index == 0)
            x = layer(x, position, sine, memory, queries.blocked)
            out = decoder.at("norm").norm(x)
            head = weights.at("bbox_embed")
            logits = weights.at("class_embed").linear(out)
            run.add(layer_name(index, self.decoder_layers), logits, shifted(head.mlp(out), start, 1e-3))
            start = shifted(head.mlp(x), boxes, 1e-3)
            boxes = start.detach()


@dataclass
class _Layer:
    weights: Weights
    heads: int
    first: bool

    def __call__(self, x: Tensor, position: Tensor, sine: Tensor, memory: Memory, blocked: Tensor | None) -> Tensor:
        layer = self.weights
        query, key = (
            layer.at(f"sa_{side}content_proj").linear(x) + layer.at(f"sa_{side}pos_proj").linear(position)
            for side in ("q", "k")
        )
        shares = layer.at("lvl_attn").linear(query).softmax(-1)
        mixed = mix(query, key, layer.at("sa_v_proj").linear(x), self.heads, blocked)
        x = layer.at("norm1").norm(x + layer.at("self_attn.out_proj").linear(mixed))
        found = self._levels(x, position, sine, memory)
        projected = [layer.at("ca_out_v_proj").linear(one) for one in found]
        update = sum(share * one for share, one in zip(shares.split(1, -1), projected, strict=True))
        x = layer.at("norm2").norm(x + update)
        return layer.at("norm3").norm(x + layer.feed_forward(x))

    def _levels(self, x: Tensor, position: Tensor, sine: Tensor, memory: Memory) -> list[Tensor]:
        """What the queries find in each level."""
        layer, tokens = self.weights, memory.tokens
        query, key = layer.at("ca_qcontent_proj").linear(x), layer.at("ca_kcontent_proj").linear(memory.values)
        place = layer.at("ca_kpos_proj").linear(tokens.position)
        if self.first:
            query, key = query + layer.at("ca_qpos_proj").linear(position), key + place
        query = self._beside(query, layer.at("ca_qpos_sine_proj").linear(sine))
        key, value = self._beside(key, place), layer.at("ca_v_proj").linear(memory.values)
        found, start = [], 0
        for h, w in tokens.shapes:
            rows = slice(start, start + h * w)
            blocked = tokens.padding[:, None, rows]
            found.append(mix(query, key[:, rows], value[:, rows], self.heads, blocked))
            start += h * w
        return found

    def _beside(self, content: Tensor, position: Tensor) -> Tensor:
        """Content and position of each head side by side."""
        both = zip(content.chunk(self.heads, -1), position.chunk(self.heads, -1), strict=True)
        return torch.cat([part for pair in both for part in pair], -1)
