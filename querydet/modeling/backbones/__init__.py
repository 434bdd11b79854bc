"""What Detectron2's backbones lack."""

from querydet.modeling.backbones.dilated import make_dilated_stages

__all__ = ["make_dilated_stages"]
