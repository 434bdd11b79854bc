"""The detector: one forward pass for every query-based method, made of injected parts.

A method is a choice of parts (see `configs/common/models/`). Training only adds to inference: extra groups of queries,
such as denoising ones, the predictions of all layers, and the criterion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling import Backbone
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from querydet.mask_parts import Masks
from querydet.modeling.backbones import batch_images, fold_frozen_norms, image_layout
from querydet.modeling.boxes import full_precision
from querydet.modeling.compatibility import check_parts
from querydet.modeling.criterion import check_finite
from querydet.modeling.geometry import padding_mask
from querydet.modeling.queries.group_order import order_groups
from querydet.modeling.targets import image_name, make_targets
from querydet.parts import CriterionPart, Decoder, Denoising, Encoder, Heads, Neck, Postprocess, Selection
from querydet.structures import (
    ImageFeatures,
    InitialQueries,
    ObjectCount,
    PredictionSet,
    QueryBatch,
    QueryGroup,
    Targets,
    TokenPyramid,
)
from querydet.traits import trait
from querydet.utils.transfer import send


class QueryDetector(nn.Module):
    """A query-based detector.

    Every part fulfils the Protocol of its slot in `querydet.parts`.

    Args:
        backbone: any Detectron2 backbone.
        neck: backbone maps to one sequence of tokens.
        encoder: encodes the tokens by attention among them.
        selection: encoded tokens to initial queries.
        decoder: refines queries and their boxes layer by layer.
        heads: hidden states to logits and boxes.
        criterion: predictions and targets to losses.
        postprocess: last predictions to detections.
        num_classes: K; the shipped configs derive that of every part from it.
        denoising: extra training queries made from the objects; None: no denoising.
        masks: predicts the masks of queries; None: boxes only.
        pixel_mean, pixel_std: normalisation of the input, in the channel order of `input_format`; the default is that
            of torchvision's and Detectron2's RGB backbones.
        padding_is_image: whether every part takes the padding of a batch for image (released code of Mask2Former): the
            detections on an image then depend on the other images of its batch.
        size_divisibility: height and width of a batch are padded to a multiple of it, and of what the backbone takes.
        input_format: channel order of the input images, "RGB" or "BGR"; read by the data mapper and the tools.

    Raises:
        ValueError: the parts do not fit together; the message names them and the remedy.
    """

    training_only = ("denoising", "criterion")
    takes_object_count = True  # a trainer counts the objects of the step, see `forward`
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        encoder: Encoder,
        selection: Selection,
        decoder: Decoder,
        heads: Heads,
        criterion: CriterionPart,
        postprocess: Postprocess,
        num_classes: int,
        denoising: Denoising | None = None,
        masks: Masks | None = None,
        padding_is_image: bool = False,
        size_divisibility: int = 1,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        input_format: str = "RGB",
    ) -> None:
        super().__init__()
        self.backbone = fold_frozen_norms(backbone)
        self.neck = neck
        self.encoder = encoder
        self.selection = selection
        self.denoising = denoising
        self.decoder = decoder
        self.heads = heads
        self.masks = masks
        self.criterion = criterion
        self.postprocess = postprocess
        self.num_classes = num_classes
        self.input_format = input_format
        self.padding_is_image, self.size_divisibility = padding_is_image, size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)
        check_parts(self)
        self._check_method()
        start_from = trait(selection, "start_from")
        if start_from is not None:
            start_from(heads)

    def method_parts(self) -> Mapping[str, bool]:
        """Return the ideas of a named method, each with its place in the config, and whether the parts have it.

        A class of `querydet.modeling.meta_arch` lists the ideas of its paper; the plain detector has none.
        """
        return {}

    def _check_method(self) -> None:
        missing = [idea for idea, there in self.method_parts().items() if not there]
        if missing:
            raise ValueError(
                f"{type(self).__name__} lacks {', '.join(missing)}; use QueryDetector for other combinations of parts "
                "(model._target_=querydet.QueryDetector)"
            )

    @property
    def device(self) -> torch.device:
        """The device that the detector computes on."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[dict[str, Any]], object_count: ObjectCount | None = None
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Detect objects, or in training mode compute the losses.

        Args:
            batched_inputs: Detectron2's dicts, any number of them: `image` (3, H, W) of any size; `height` and `width`
                in pixels that detections are scaled to (default: those of `image`); in training `instances` with
                `gt_boxes` and `gt_classes`, and optionally `seed`.
            object_count: in training, the numbers of objects of the whole step, where several processes or
                micro-batches share it (`querydet.engine.accumulation.count_objects`); None: this batch is the step.

        Returns:
            In training, weighted scalar losses by name, to be added up. Otherwise `[{"instances": Instances}]` with
            `pred_boxes` (XYXY, pixels), `scores` and `pred_classes`; with masks also `pred_masks` (n, height, width)
            bool, or `pred_masks_rle` (`querydet.modeling.masks.PasteMasks`).

        Raises:
            ValueError: for an empty batch, an image of another number of channels, or unusable annotations (see
                `querydet.modeling.targets.make_targets`).
            FloatingPointError: when a prediction is NaN or infinite, naming the layer and the image.
        """
        images = self.preprocess(batched_inputs)
        padding = self.padding_of(padding_mask(images))
        if self.training:
            dtype = full_precision(self.pixel_mean).dtype
            canvas = None if self.masks is None else (padding.shape[1], padding.shape[2])
            targets = make_targets(batched_inputs, self.num_classes, self.device, dtype, object_count, canvas)
            return self.criterion(self.predict(self.backbone(images.tensor), padding, targets), targets)
        last = self.detect(images.tensor, padding)
        check_finite((last,), [image_name(inputs, index) for index, inputs in enumerate(batched_inputs)])
        sizes = [
            (inputs.get("height", height), inputs.get("width", width))
            for inputs, (height, width) in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return [{"instances": instances} for instances in self.detections(last, sizes, images.image_sizes)]

    def detections(
        self, last: PredictionSet, sizes: list[tuple[int, int]], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Select the detections of each image from predictions, with their masks if there are some.

        Args:
            last: predictions after the last layer.
            sizes: (height, width) in pixels that detections are scaled to.
            image_sizes: (height, width) of each image in the batch, without padding.
        """
        detections = self.postprocess(last.logits, last.boxes, sizes)
        if self.masks is not None:
            detections = self.masks.add_masks(detections, last, image_sizes)
        return [without_indices(instances) for instances in detections]

    def padding_of(self, padding: Tensor) -> Tensor:
        """Return the padding (B, H, W) bool that the parts see, from the pixels that no image covers."""
        return torch.zeros_like(padding) if self.padding_is_image else padding

    def preprocess(self, batched_inputs: Sequence[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them with zeros, right and bottom, to one size.

        The size is the largest height and width of the batch, rounded up to what the backbone takes
        (`querydet.modeling.backbones.padding`).

        Raises:
            ValueError: when there are no images, one does not have the channels of `input_format`, or one is larger
                than a square that the backbone pads to.
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
        batch = batch_images(images, self.backbone, self.size_divisibility)
        batch.tensor = batch.tensor.contiguous(memory_format=image_layout(self.device))
        return batch

    def detect(self, images: Tensor, padding: Tensor) -> PredictionSet:
        """Predict for the primary queries after the last layer, without waiting for the device or sending to it.

        Args:
            images: (B, 3, H, W), normalised.
            padding: (B, H, W) bool, True = padding.
        """
        (last,) = self.predict(self.backbone(images), padding)
        return last

    def predict(
        self, features: dict[str, Tensor], padding: Tensor, targets: Targets | None = None
    ) -> tuple[PredictionSet, ...]:
        """Run every stage between the backbone and the criterion.

        Args:
            features: backbone maps by name.
            padding: (B, H, W) bool of the padded images, True = padding.
            targets: in training, the objects, which denoising queries are made from. None: inference, which builds the
                primary queries only and predicts after the last layer only.

        Returns:
            The predictions; in inference there is one set, of the primary queries after the last layer.
        """
        training = targets is not None
        memory = self.encode(features, padding)
        initial = self.selection(memory, training)
        queries = self.compose_queries(initial, targets)
        outputs = self.decoder(queries, memory, self.heads, one_to_many=training)
        predictions = self.heads(outputs, queries.groups, last_only=not training)
        if self.masks is not None and memory.masks is not None:
            predictions = self.masks.attach(predictions, memory.masks)
        if not training:
            return predictions
        return sum((group.encoder_predictions() for group in initial), ()) + predictions

    def encode(self, features: dict[str, Tensor], padding: Tensor) -> TokenPyramid:
        """Encode backbone maps by name; the result also makes the masks of queries, where the detector predicts some.

        Args:
            features: backbone maps by name.
            padding: (B, H, W) bool of the padded images, True = padding.
        """
        projected = self.neck(features, padding)
        memory = self.encoder(projected)
        if self.masks is None:
            return memory
        return replace(memory, masks=self.masks(ImageFeatures(features, padding, projected, memory)))

    def compose_queries(self, initial: tuple[InitialQueries, ...], targets: Targets | None) -> QueryBatch:
        """Join all groups to one batch of queries; in training, denoising groups come before the group that they see.

        Args:
            initial: the groups of the selection.
            targets: in training, the objects; None: inference, without denoising.

        Raises:
            ValueError: a denoising group sees a group that the selection does not make.
        """
        denoising = () if targets is None or self.denoising is None else self.denoising(targets)
        parts = order_groups(initial, self._with_positions(denoising))
        groups: list[QueryGroup] = []
        for queries in parts:
            groups.append(queries.group.moved(groups[-1].stop if groups else 0))
        positions = [queries.position for queries in parts if queries.position is not None]
        return QueryBatch(
            content=torch.cat([queries.content for queries in parts], dim=1),
            boxes=torch.cat([queries.boxes for queries in parts], dim=1),
            position=torch.cat(positions, dim=1) if positions else None,
            groups=tuple(groups),
        )

    def _with_positions(self, denoising: tuple[InitialQueries, ...]) -> tuple[InitialQueries, ...]:
        return tuple(replace(queries, position=self.selection.embed_boxes(queries.boxes)) for queries in denoising)


def without_indices(instances: Instances) -> Instances:
    """Return detections without the indices of their queries, which only masks read."""
    if instances.has("query_indices"):
        instances.remove("query_indices")
    return instances
