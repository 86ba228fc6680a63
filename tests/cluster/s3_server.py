"""An S3 server on loopback that can be away for a while and keeps what it has.

    python tests/cluster/s3_server.py 9000        # then `stop`, `start` as lines of its input

It is moto's, with its objects in memory; it ends with its input.
"""

from __future__ import annotations

import logging
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    server = None
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "start" and server is None:
            server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        elif line.strip() == "stop" and server is not None:
            server.shutdown()
            server.server_close()  # from now on connections are refused
            server = None
        print("done", flush=True)


if __name__ == "__main__":
    main()
