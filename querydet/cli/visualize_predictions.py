"""``querydet visualize predictions``, whose options are in `querydet.cli.arguments.visualize_predictions`."""

from collections.abc import Sequence

from querydet.checkpoint import check_exists, load_weights
from querydet.cli.arguments.visualize_predictions import parse_arguments
from querydet.data.validation_set import load_test_data, need_test_data
from querydet.engine import build_model
from querydet.inference.predictor import find_model
from querydet.utils.lazy import instantiate
from querydet.visualization import draw_predictions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    cfg, weights = find_model(args.config_file, args.weights, args.overrides)
    check_exists(weights)
    need_test_data(cfg)
    model = build_model(cfg)
    dataset = load_test_data(cfg, load_weights(model, weights, use_ema=cfg.train.ema.enabled))
    mapper = instantiate(cfg.dataloader.test.mapper)
    draw_predictions(model, dataset, mapper, args.output, num_images=args.num_images, threshold=args.threshold)
    print(f"wrote {args.output}")
    return 0
