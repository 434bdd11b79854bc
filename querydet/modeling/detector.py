"""The detector: one forward pass for every query-based method, made of injected parts.

A method is a choice of parts (see ``configs/common/models/``). Training differs from inference only in what it adds:
denoising queries in the decoder, predictions of earlier layers, and the criterion at the end.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from detectron2.modeling import Backbone
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.compatibility import check_parts
from querydet.modeling.criterion import Criterion, check_finite
from querydet.modeling.decoder.deformable import DeformableDecoder
from querydet.modeling.encoder.deformable import DeformableEncoder
from querydet.modeling.geometry import padding_mask
from querydet.modeling.heads import PredictionHeads
from querydet.modeling.neck import MultiScaleNeck
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.modeling.queries import ContrastiveDenoising, Denoising, GroupedDenoising
from querydet.modeling.selection import LearnedBoxes, LearnedPoints, ProposalHead, TopKSelection
from querydet.modeling.targets import image_name, make_targets
from querydet.structures import InitialQueries, PredictionSet, QueryBatch, QueryGroup, Targets
from querydet.utils.transfer import send


class QueryDetector(nn.Module):
    """A query-based detector.

    Args:
        backbone: any Detectron2 backbone.
        neck: backbone maps to one sequence of tokens.
        encoder: lets the tokens look at each other.
        selection: encoded tokens to initial queries.
        decoder: refines queries and their boxes layer by layer.
        heads: hidden states to logits and boxes.
        criterion: predictions and targets to losses.
        postprocess: last predictions to detections.
        num_classes: K. The one place to set it: configs refer to it everywhere else.
        denoising: extra training queries made from the objects; None: no denoising.
        pixel_mean, pixel_std: normalisation of the input, in the channel order of ``input_format``; the default is that
            of torchvision's and Detectron2's RGB backbones.
        input_format: channel order of the input images, "RGB" or "BGR"; read by the data mapper and the tools.

    Raises:
        ValueError: when the parts do not fit together, saying which and what to change.
    """

    training_only = ("denoising", "criterion")
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: MultiScaleNeck,
        encoder: DeformableEncoder,
        selection: TopKSelection | LearnedPoints | LearnedBoxes,
        decoder: DeformableDecoder,
        heads: PredictionHeads,
        criterion: Criterion,
        postprocess: TopKPostprocess | NMSPostprocess,
        num_classes: int,
        denoising: ContrastiveDenoising | Denoising | GroupedDenoising | None = None,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        input_format: str = "RGB",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.encoder = encoder
        self.selection = selection
        self.denoising = denoising
        self.decoder = decoder
        self.heads = heads
        self.criterion = criterion
        self.postprocess = postprocess
        self.num_classes = num_classes
        self.input_format = input_format
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)
        check_parts(self)
        for module in self.selection.modules():
            if isinstance(module, ProposalHead):
                module.start_from(self.heads)

    @property
    def device(self) -> torch.device:
        """Where the detector computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Detect objects, or in training mode compute the losses.

        Args:
            batched_inputs: Detectron2's dicts: ``image`` (3, H, W), any number of them and any sizes; ``height`` and
                ``width`` of the image that detections are wanted for (default: those of ``image``); in training
                ``instances`` with ``gt_boxes`` and ``gt_classes``, and optionally ``seed``.

        Returns:
            In training, weighted scalar losses by name, to be added up. Otherwise ``[{"instances": Instances}]`` with
            ``pred_boxes`` (XYXY, pixels), ``scores`` and ``pred_classes``.

        Raises:
            ValueError: for an empty batch, an image of another number of channels, or annotations that make no sense.
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        images = self.preprocess(batched_inputs)
        padding = padding_mask(images)
        if self.training:
            targets = make_targets(batched_inputs, self.num_classes, self.device, full_precision(self.pixel_mean).dtype)
            return self.criterion(self.predict(self.backbone(images.tensor), padding, targets), targets)
        last = self.detect(images.tensor, padding)
        check_finite((last,), [image_name(inputs, index) for index, inputs in enumerate(batched_inputs)])
        sizes = [
            (inputs.get("height", height), inputs.get("width", width))
            for inputs, (height, width) in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return [{"instances": instances} for instances in self.postprocess(last.logits, last.boxes, sizes)]

    def preprocess(self, batched_inputs: Sequence[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them with zeros, right and bottom, to the largest height and width.

        Raises:
            ValueError: when there are no images, or one does not have the channels of ``input_format``.
        """
        if not batched_inputs:
            raise ValueError("the detector was given an empty batch: it needs at least one image")
        mean, std = full_precision(self.pixel_mean), full_precision(self.pixel_std)
        images = []
        for index, inputs in enumerate(batched_inputs):
            image = inputs["image"]
            if image.dim() != 3 or len(image) != len(mean):
                raise ValueError(
                    f"{image_name(inputs, index)}: 'image' must have shape ({len(mean)}, H, W) in {self.input_format} "
                    f"order, found {tuple(image.shape)}"
                )
            images.append(((send(image, self.device).to(mean.dtype) - mean) / std).to(self.pixel_mean.dtype))
        batch = ImageList.from_tensors(images)
        batch.tensor = batch.tensor.contiguous(memory_format=image_layout(self.device))
        return batch

    def detect(self, images: Tensor, padding: Tensor) -> PredictionSet:
        """What inference reads: the primary queries after the last layer. Neither waits for the device nor sends to it.

        Args:
            images: (B, 3, H, W), normalised.
            padding: (B, H, W) bool, True = padding.
        """
        (last,) = self.predict(self.backbone(images), padding)
        return last

    def predict(
        self, features: dict[str, Tensor], padding: Tensor, targets: Targets | None = None
    ) -> tuple[PredictionSet, ...]:
        """Everything between the backbone and the criterion.

        Args:
            features: backbone maps by name.
            padding: (B, H, W) bool of the padded images, True = padding.
            targets: in training, the objects that denoising queries are made from. None: inference, which builds the
                primary queries alone and reads out the last layer alone.

        Returns:
            The predictions; in inference there is one set, of the primary queries after the last layer.
        """
        training = targets is not None
        memory = self.encoder(self.neck(features, padding))
        initial = self.selection(memory, training)
        queries = self.compose_queries(initial, targets)
        outputs = self.decoder(queries, memory, self.heads, read_out=training)
        predictions = self.heads(outputs, queries.groups, last_only=not training)
        if not training:
            return predictions
        return sum((each.encoder_predictions() for each in initial), ()) + predictions

    def compose_queries(self, initial: tuple[InitialQueries, ...], targets: Targets | None) -> QueryBatch:
        """Put all groups into one batch; in training, each group after the denoising queries made for it."""
        hosted = () if targets is None or self.denoising is None else self.denoising(targets)
        parts: list[InitialQueries] = []
        for matching, denoising in zip_longest(initial, hosted):
            if denoising is not None:
                parts.append(replace(denoising, position=self.selection.embed_boxes(denoising.boxes)))
            parts.append(matching)
        groups: list[QueryGroup] = []
        for each in parts:
            groups.append(each.group.moved(groups[-1].stop if groups else 0))
        positions = [each.position for each in parts if each.position is not None]
        return QueryBatch(
            content=torch.cat([each.content for each in parts], dim=1),
            boxes=torch.cat([each.boxes for each in parts], dim=1),
            position=torch.cat(positions, dim=1) if positions else None,
            groups=tuple(groups),
        )


def image_layout(device: torch.device) -> torch.memory_format:
    """Channels last, which convolutions are fastest in, unless a backward pass on a CPU follows.

    There that of convolutions with few channels writes outside of its memory in this layout (torch 2.14, oneDNN, AVX2).
    """
    backward_on_cpu = device.type == "cpu" and torch.is_grad_enabled()
    return torch.contiguous_format if backward_on_cpu else torch.channels_last
