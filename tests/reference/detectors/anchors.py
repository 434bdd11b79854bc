"""DN-DETR on DAB-Deformable-DETR, and DINO: queries that are boxes, and denoising queries beside them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors import denoising
from tests.reference.detectors.decoder import AnchorDecoder, Memory, Queries
from tests.reference.detectors.deformable import record_memory
from tests.reference.detectors.denoising import Noised
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.memory import encode, make_tokens
from tests.reference.detectors.proposals import best, propose, rows
from tests.reference.detectors.run import Objects, Run
from tests.reference.detectors.weights import Weights


@dataclass
class AnchorDETR:
    """A detector of this family.

    Args:
        levels: number of levels.
        heads: of all attention.
        encoder_layers: number of layers.
        decoder: the decoder.
        queries: number of queries.
        classes: number of classes, that noise draws from.
        two_stage: whether the encoder's proposals become the queries, as in DINO.
        learned: whether the content of the proposals' queries is learned.
        groups: of denoising: DN-DETR's ``scalar``, DINO's ``dn_number``.
        label_noise: as in the released options.
        box_noise: as in the released options.
        temperature: of the position encoding.
        offset: of the position encoding.
    """

    levels: int
    heads: int
    encoder_layers: int
    decoder: AnchorDecoder
    queries: int
    classes: int
    two_stage: bool
    groups: int
    label_noise: float
    box_noise: float
    temperature: float
    offset: float
    learned: bool = True

    def __call__(
        self, weights: Weights, features: list[Tensor], padding: Tensor, targets: list[Objects] | None, draws: Draws
    ) -> tuple[Run, Noised | None]:
        """Predict; with the objects of training, for denoising queries too."""
        run = Run()
        tokens = make_tokens(
            weights, features, padding, levels=self.levels, temperature=self.temperature, offset=self.offset
        )
        memory = Memory(encode(weights, tokens, layers=self.encoder_layers, heads=self.heads), tokens, self.heads)
        record_memory(run, memory)
        images = len(padding)
        content, anchors = self._proposed(weights, memory, run) if self.two_stage else _learned(weights, images)
        noised, pad, blocked = None, 0, None
        if targets is not None:
            noised = self._noise(weights, targets, draws)
            pad, blocked = noised.content.shape[1], noised.blocked(self.queries)
            own = noised.content, noised.boxes
            content, anchors = torch.cat([own[0], content], 1), torch.cat([own[1], anchors], 1)
            recorded = own if self.two_stage else (content, anchors)
            run.middle |= {"dn/query_label": recorded[0], "dn/query_bbox_unsig": recorded[1], "dn/attn_mask": blocked}
            if not self.two_stage:
                run.middle["mid/dec_attn_mask"] = blocked
        run.middle["mid/dec_init_tgt"] = content
        run.middle |= {"mid/dec_init_ref_unsig": anchors} if self.two_stage else {"mid/dec_init_ref": anchors.sigmoid()}
        self.decoder(weights, Queries(content, None, anchors.sigmoid(), blocked), memory, run)
        for name, outputs in list(run.outputs.items()):
            if pad and name != "interm/":
                run.add(f"dn/{name}", outputs.logits[:, :pad], outputs.boxes[:, :pad])
                run.add(name, outputs.logits[:, pad:], outputs.boxes[:, pad:])
        return run, noised

    def _proposed(self, weights: Weights, memory: Memory, run: Run) -> tuple[Tensor, Tensor]:
        transformer = weights.at("transformer")
        heads = transformer.at("enc_out_class_embed"), transformer.at("enc_out_bbox_embed")
        proposals = propose(weights, memory.values, memory.tokens, *heads)
        index = best(proposals.logits.max(-1).values, self.queries)
        run.middle["mid/topk_indices"] = index
        run.ties = int((~rows(proposals.usable, index)).sum())
        boxes = rows(proposals.boxes, index)
        run.add("interm/", rows(proposals.logits, index), boxes.sigmoid())
        features = rows(proposals.features, index).detach()
        content = transformer["tgt_embed.weight"].expand_as(features) if self.learned else features
        return content, boxes.detach()

    def _noise(self, weights: Weights, targets: list[Objects], draws: Draws) -> Noised:
        table = weights["label_enc.weight"]
        if self.two_stage:
            return denoising.dino(
                targets,
                table,
                draws,
                classes=self.classes,
                number=self.groups,
                ratio=self.label_noise,
                scale=self.box_noise,
            )
        return denoising.dn_detr(
            targets,
            table,
            draws,
            classes=self.classes,
            groups=self.groups,
            flip=self.label_noise,
            scale=self.box_noise,
        )


def _learned(weights: Weights, images: int) -> tuple[Tensor, Tensor]:
    """DN-DETR's matching queries: content whose last channel says that they are not denoising, and boxes."""
    content = weights["tgt_embed.weight"]
    content = torch.cat([content, content.new_zeros(len(content), 1)], -1)
    return content.expand(images, -1, -1), weights["refpoint_embed.weight"].expand(images, -1, -1)
