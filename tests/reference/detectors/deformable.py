"""Deformable DETR and what was built on its transformer: MS-DETR, DETA and H-DETR."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors.decoder import DeformableDecoder, Memory, Queries
from tests.reference.detectors.memory import Tokens, encode, make_tokens
from tests.reference.detectors.proposals import best, embed_boxes, propose, rows, suppressed
from tests.reference.detectors.run import Run
from tests.reference.detectors.weights import Weights


@dataclass
class DeformableDETR:
    """A detector of this family.

    Args:
        levels: number of levels.
        heads: of all attention.
        encoder_layers: number of layers.
        decoder: the decoder.
        queries: number of queries.
        extra_queries: number of H-DETR's further queries in training.
        two_stage: whether the encoder's proposals become the queries.
        mixed: whether only their boxes do, and the content is learned (mixed selection).
        pixels: whether the content has the proposals' features, as in DETA.
        suppression: candidates of a level and threshold of DETA's selection, or None for the best of all tokens.
        temperature: of the position encoding.
        offset: of the position encoding.
    """

    levels: int
    heads: int
    encoder_layers: int
    decoder: DeformableDecoder
    queries: int
    extra_queries: int = 0
    two_stage: bool = True
    mixed: bool = False
    pixels: bool = False
    suppression: tuple[int, float] | None = None
    temperature: float = 10000.0
    offset: float = -0.5

    def __call__(self, weights: Weights, features: list[Tensor], padding: Tensor, training: bool) -> Run:
        """Predict from maps (B, c, h, w) and the padding (B, H, W) of their images."""
        run = Run()
        tokens = make_tokens(
            weights, features, padding, levels=self.levels, temperature=self.temperature, offset=self.offset
        )
        memory = Memory(encode(weights, tokens, layers=self.encoder_layers, heads=self.heads), tokens, self.heads)
        record_memory(run, memory)
        count = self.queries + (self.extra_queries if training else 0)
        queries = self._propose(weights, memory, run, count) if self.two_stage else self._learned(weights, len(padding))
        if self.extra_queries:
            group = torch.arange(count) < self.queries
            queries.blocked = group[:, None] != group
            run.middle["mid/dec_attn_mask"] = queries.blocked
        run.middle |= {"mid/dec_init_tgt": queries.content, "mid/dec_init_ref": queries.boxes}
        self.decoder(weights, queries, memory, run)
        if self.extra_queries and training:
            self._split(run)
        return run

    def _learned(self, weights: Weights, images: int) -> Queries:
        position, content = weights["query_embed.weight"].expand(images, -1, -1).chunk(2, -1)
        points = weights.at("transformer.reference_points").linear(position).sigmoid()
        return Queries(content, position, points)

    def _propose(self, weights: Weights, memory: Memory, run: Run, count: int) -> Queries:
        last = self.decoder.layers
        heads = weights.at("class_embed", last), weights.at("bbox_embed", last)
        proposals = propose(weights, memory.values, memory.tokens, *heads)
        run.add("enc/", proposals.logits, proposals.boxes.sigmoid(), proposals.anchors)
        if self.suppression is None:
            index = best(proposals.logits[..., 0], count)
        else:
            index = suppressed(proposals, memory.tokens.shapes, count, *self.suppression)
        run.middle["mid/topk_indices"] = index
        run.ties = int((~rows(proposals.usable, index)).sum())
        boxes = rows(proposals.boxes, index).detach().sigmoid()
        transformer, width = weights.at("transformer"), proposals.features.shape[-1]
        embedded = transformer.at("pos_trans").linear(embed_boxes(boxes, width // 2))
        position, content = transformer.at("pos_trans_norm").norm(embedded).chunk(2, -1)
        if self.mixed:
            content = weights["query_embed.weight"][:count].expand_as(content)
        if self.pixels:
            features = rows(proposals.features, index).detach()
            content = content + transformer.at("pix_trans_norm").norm(transformer.at("pix_trans").linear(features))
            run.middle["init_reference"] = boxes
        return Queries(content, position, boxes)

    def _split(self, run: Run) -> None:
        """Give H-DETR's further queries outputs of their own."""
        for name, outputs in list(run.outputs.items()):
            if name != "enc/":
                run.add(f"o2m/{name}", outputs.logits[:, self.queries :], outputs.boxes[:, self.queries :])
                run.add(name, outputs.logits[:, : self.queries], outputs.boxes[:, : self.queries])


def record_memory(run: Run, memory: Memory) -> None:
    """Remember what the encoder got and gave."""
    tokens: Tokens = memory.tokens
    run.middle |= {f"mid/pos_embed/{level}": one for level, one in enumerate(tokens.maps)}
    run.middle |= {
        "mid/src_flatten": tokens.values,
        "mid/mask_flatten": tokens.padding,
        "mid/valid_ratios": tokens.ratios,
        "mid/spatial_shapes": torch.tensor(tokens.shapes),
        "mid/memory": memory.values,
    }
