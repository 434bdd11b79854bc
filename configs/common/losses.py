"""Class losses to choose from: ``_federated = get_config("common/losses.py").federated``."""

from detectron2.config import LazyCall as L

from querydet.modeling.federated import FederatedFocalLoss

# Detic on LVIS: 50 classes, drawn by the root of their numbers of images; counts=None: those of the training data
federated = L(FederatedFocalLoss)(weight=2.0, counts=None, num_kept=50, power=0.5, scope="image", alpha=0.25, gamma=2.0)
