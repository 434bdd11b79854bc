"""What a training run does around the model. ``train_net.py`` reads every key of this file.

A *period* is a number of epochs (fractions are allowed), or a string such as ``"500it"`` for iterations. 0 is only at
the end: after the last step there is always an evaluation and a checkpoint, whatever the periods are.
"""

train = {
    "output_dir": "./output",
    # Weights to start from: a checkpoint of this project, or a backbone's weights such as
    # "detectron2://ImageNetPretrained/torchvision/R-50.pkl". Empty: random weights.
    "init_checkpoint": "",
    # Load these parts of the checkpoint alone, such as [backbone, neck, encoder]; all others keep their initial
    # weights, and may be of another kind in the file. []: all of it.
    "init_parts": [],
    # Parts that are not trained, such as [backbone, neck, encoder]: no gradients, no optimizer, no dropout.
    "freeze": [],
    # Load a checkpoint of another class count or query count as far as the shapes fit (fine-tuning).
    "init_allow_mismatch": False,
    # Load NaN and infinite weights too, to look into a training that failed; also with --resume and --eval-only.
    "init_allow_nonfinite": False,
    # --resume refuses a changed model, seed, batch size or augmentation, and training data with other images,
    # annotations or classes, wherever they are. True: go on all the same.
    "allow_changed_config": False,
    # Load a detector of other classes (found by name), queries, groups of queries or feature levels, for fine-tuning:
    # what means the same in both is kept, and what is newly initialized is listed.
    "init_surgery": False,
    # With init_surgery: finds classes that have another name in the file. "objects365_to_coco": a table by hand.
    "init_class_map": None,
    "seed": 42,
    # "auto": cuda when there is one and --num-gpus is not 0.
    "device": "auto",
    "max_epochs": 12,
    # When set, the run ends here, whatever max_epochs says; the schedule still counts in epochs.
    "max_iter": None,
    "eval_period": 1,
    # Of evaluations: "float32", "bfloat16", or "auto": bfloat16 where this machine computes faster in it.
    "eval_precision": "float32",
    # How many queries change their object from one evaluation to the next (instability/IS), and how often that is
    # measured on the test data; see docs/evaluation.md.
    "instability": {"enabled": False, "period": 1},
    # Pictures of training batches, denoising queries and predictions, in pictures/ of the output folder and in
    # TensorBoard: every so often, of so many images, predictions of at least this score; see docs/pictures.md.
    "pictures": {"enabled": False, "period": 1, "num_images": 4, "threshold": 0.3},
    # With --eval-only: every image also at these scales and mirrored. ensemble: None is suppression for a model that
    # suppresses its detections, and DINO's one-to-one ensembling for all others; see docs/evaluation.md.
    "test_time_augmentation": {"enabled": False, "scales": [0.75, 1.25], "flip": True, "ensemble": None},
    # As many evaluations in a row may fail before that ends the run.
    "max_failed_evaluations": 0,
    # In iterations.
    "log_period": 20,
    # max_failed_saves: as many checkpoints in a row may fail, on a full disk for example, before the run stops.
    "checkpointer": {"period": 1, "max_to_keep": 3, "best_metric": "bbox/AP", "max_failed_saves": 3},
    # Total L2 norm, DINO and Deformable DETR: 0.1. None: gradients are measured, not clipped.
    "clip_grad_norm": 0.1,
    # bfloat16 on CPU and GPU; float16, with loss scaling, on a GPU.
    "amp": {"enabled": False, "dtype": "bfloat16"},
    # A step with a NaN or infinite prediction, loss or gradient is left out, at most this often; then the run stops.
    "max_nonfinite_steps": 0,
    # The step that stops the run is written to nonfinite_*.pt, with the weights, for querydet replay.
    "dump_nonfinite": True,
    # A step that does not fit into memory: "stop", "skip", or compute it again: "split": one image at a time,
    # "recompute": with activation checkpointing. A step that does not fit then either is skipped, at most max_skipped
    # of them. With several processes, all but "stop" cost some time in every step.
    "out_of_memory": {"action": "stop", "max_skipped": 100},
    # With dataloader.train.mapper.on_bad_image=skip: the fraction of the images that may be unusable.
    "max_bad_images": 0.1,
    # Moving average of the weights, evaluated in place of the raw ones; evaluate_raw adds these as "raw/bbox/AP".
    "ema": {"enabled": False, "decay": 0.9997, "evaluate_raw": False},
    "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
    # How often several processes make sure that they have the same weights; 0: never.
    "check_ranks_period": 1,
    "cudnn_benchmark": False,
    # Gradient accumulation: a process computes its share of total_batch_size in so many parts, one after the other.
    "micro_batches": 1,
    # The learning rates are those for batches of base_batch_size images; rule: None, "linear" or "sqrt" of the ratio.
    "lr_scaling": {"rule": None, "base_batch_size": 16},
    # Parts of the model that recompute their activations in the backward pass, such as [backbone, encoder, decoder].
    "activation_checkpointing": [],
    # Parts of the model for torch.compile; dynamic: None compiles again at the second size, then for all sizes.
    "compile": {"parts": [], "backend": "inductor", "dynamic": None},
    # Parameters, gradients and optimizer state are shared out over the processes (ZeRO stage 3 by PyTorch's FSDP2);
    # reshard_after_forward=False is stage 2.
    "sharding": {"enabled": False, "reshard_after_forward": True},
    # Weights & Biases beside TensorBoard and metrics.json; name: None is the output folder's.
    "wandb": {"enabled": False, "project": "querydet", "name": None, "mode": None},
}
