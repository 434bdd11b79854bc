"""``querydet demo``, whose options are in `querydet.cli.arguments.demo`."""

import logging
from collections.abc import Sequence

from detectron2.utils.logger import setup_logger

from querydet.cli.arguments.demo import parse_arguments
from querydet.demo import Models, find_choices
from querydet.demo.server import HOST, create_app, make_server


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    args = parse_arguments(argv)
    setup_logger(name="querydet")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    choices = find_choices(args.models, args.config_file, args.weights)
    server = make_server(create_app(Models(choices, args.overrides), args.threshold), args.port)
    print(f"{len(choices)} models at http://{HOST}:{server.server_port}/ (Ctrl-C ends)", flush=True)
    server.serve_forever()  # returns after Ctrl-C
    print("stopped")
    return 0
