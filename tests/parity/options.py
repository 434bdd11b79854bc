"""Reading a recorded configuration completely: what a composition does not read is an error of the harness."""

from collections.abc import Iterable, Iterator
from typing import Any

# How and where the released code trained, or what the recording replaces: nothing of it decides what is computed.
TRAINING = """
    _base_ amp backbone backbone_freeze_keywords batch_norm_type batch_size bigger cache_mode clip_max_norm
    coco_panoptic_path coco_path dataset_file debug device dilation dist_url drop_lr_now ema_decay ema_epoch epochs eval
    find_unused_params finetune finetune_ignore fix_size frozen_weights local_rank lr lr_backbone lr_backbone_names
    lr_drop lr_drop_epochs lr_drop_list lr_linear_proj_mult lr_linear_proj_names match_unstable_error matcher_type
    modelname multi_step_lr note num_workers onecyclelr output_dir override_resumed_lr_drop param_dict_type
    pretrain_model_path rank remove_difficult resume return_interm_indices return_interm_layers save_checkpoint_interval
    save_log save_results seed sgd start_epoch use_checkpoint use_ema weight_decay world_size ddetr_lr_param
"""
# Weights of losses: those that are applied are recorded beside the configuration, and read from there.
WEIGHTS = """
    cls_loss_coef bbox_loss_coef giou_loss_coef mask_loss_coef dice_loss_coef enc_loss_coef interm_loss_coef
    o2m_cls_loss_coef o2m_bbox_loss_coef o2m_giou_loss_coef enc_cls_loss_coef enc_bbox_loss_coef enc_giou_loss_coef
"""
RECORDING = {"args", "set", "base_config", "feat_channels", "feat_names", "feat_strides", "new_keys", "criterion"}


class RecordedConfig(dict[str, Any]):
    """A configuration that remembers which of its options were read; nested ones do so too."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(
            {key: RecordedConfig(value) if isinstance(value, dict) else value for key, value in values.items()}
        )
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def unread(self, prefix: str = "") -> Iterator[str]:
        """The options that were not read, by dotted keys."""
        for key, value in self.items():
            if isinstance(value, RecordedConfig):
                yield from value.unread(f"{prefix}{key}.")
            elif key not in self.read:
                yield prefix + key


def check_all_read(config: RecordedConfig, ignored: Iterable[str]) -> None:
    """Raise KeyError for options that were neither read nor are known to say nothing."""
    known = tuple(ignored)
    unread = [
        key
        for key in config.unread()
        if key not in known and not key.startswith(tuple(f"{name}." for name in known)) and not key.endswith("_target_")
    ]
    if unread:
        raise KeyError(f"nothing reads the options {', '.join(sorted(unread))}")


def check_fixed(config: RecordedConfig, fixed: dict[str, Any]) -> None:
    """Raise KeyError for options whose value is not the one that a composition stands for."""
    for key, value in fixed.items():
        if config.get(key, value) != value:
            raise KeyError(f"cannot express {key}={config[key]!r}")


def check_recording(recording: dict[str, Any], known: Iterable[str] = ()) -> None:
    """Raise KeyError for settings of the recording itself that nothing reads."""
    unknown = set(recording) - RECORDING - set(known)
    if unknown:
        raise KeyError(f"nothing reads the settings of the recording {', '.join(sorted(unknown))}")
