"""A small REST server of an exported energy, with TensorFlow and the standard library alone.

  python examples/serve.py --model_base_path=models/cifar [--model_name=cifar] [--port=8501]

It answers on the loopback interface in the JSON of TensorFlow Serving's REST API (GET /v1/models/NAME[/versions/N] and
POST /v1/models/NAME[/versions/N]:predict), so that a client that works here works there. models/cifar holds folders of
bin/export.py whose names are numbers; the largest is served. To look at things and to test clients: no batching, no
TLS, one model. Ctrl-C ends it.

  curl http://127.0.0.1:8501/v1/models/cifar:predict -d '{"signature_name": "metadata", "inputs": {}}'
  printf '{"signature_name": "detect_bytes", "instances": [{"image_bytes": {"b64": "%s"}}]}' \\
    "$(base64 -w0 photo.png)" | curl http://127.0.0.1:8501/v1/models/cifar:predict -d @-
"""

import argparse
import base64
import http.server
import json
import pathlib
import re
import sys
from typing import Any

import tensorflow as tf


def newest(base: pathlib.Path) -> pathlib.Path:
    """The folder whose name is the largest number."""
    paths = base.iterdir() if base.is_dir() else []
    versions = [path for path in paths if path.name.isdecimal() and (path / "saved_model.pb").exists()]
    if not versions:
        raise SystemExit(f"expected a folder N with a SavedModel in {base}, as by bin/export.py --output={base}/1")
    return max(versions, key=lambda path: int(path.name))


def decoded(value: Any) -> Any:
    """JSON with {"b64": text} as bytes."""
    if isinstance(value, dict):
        if set(value) != {"b64"}:
            raise ValueError(f'expected numbers, text, or bytes as {{"b64": text}}. Received: {json.dumps(value)}')
        return base64.b64decode(value["b64"], validate=True)
    return [decoded(one) for one in value] if isinstance(value, list) else value


def as_json(name: str, values: Any) -> Any:
    """Numbers as Python's; strings as text, those of an output whose name ends in _bytes as {"b64": text}."""
    if isinstance(values, list):
        return [as_json(name, one) for one in values]
    if not isinstance(values, bytes):
        return values
    return {"b64": base64.b64encode(values).decode()} if name.endswith("_bytes") else values.decode()


def named(value: Any, wanted: Any) -> dict[str, Any]:
    """value by the names of a signature's inputs; one that has a single input need not name it."""
    if isinstance(value, dict) and set(value) == set(wanted):
        return value
    if len(wanted) != 1 or (isinstance(value, dict) and set(value) != {"b64"}):
        found = ", ".join(value) if isinstance(value, dict) else f"a {type(value).__name__}"
        raise ValueError(f"expected by name: {', '.join(sorted(wanted)) or 'nothing'}. Received: {found or 'nothing'}")
    return {next(iter(wanted)): value}


def predict(signatures: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, by rows ("instances") or by columns ("inputs").

    Raises:
      ValueError, TypeError, RecursionError, tf.errors.OpError: a request that cannot be answered.
    """
    if not isinstance(request, dict) or len({"instances", "inputs"} & set(request)) != 1:
        found = ", ".join(request) if isinstance(request, dict) else f"a {type(request).__name__}"
        raise ValueError(f"expected an object with instances (rows) or inputs (columns). Received: {found or 'none'}")
    name = request.get("signature_name", "serving_default")
    if name not in list(signatures):
        raise ValueError(f"expected signature_name of {', '.join(sorted(signatures))}. Received: {name}")
    function = signatures[name]
    wanted = function.structured_input_signature[1]
    by_row = "instances" in request
    given = request["instances"] if by_row else request["inputs"]
    if by_row:
        if not isinstance(given, list) or not given or not wanted:
            none = f"inputs, for {name} has none of which there could be rows"
            expected = "a list of rows, one or more" if wanted else none
            raise ValueError(f"expected {expected}. Received: instances={json.dumps(given)}")
        rows = [named(one, wanted) for one in given]
        given = {key: [row[key] for row in rows] for key in wanted}
    given = named(given, wanted)
    tensors = {key: tf.constant(decoded(given[key]), spec.dtype) for key, spec in wanted.items()}
    for key, spec in wanted.items():  # of a tensor of another rank TensorFlow may abort
        if not spec.shape.is_compatible_with(tensors[key].shape):
            raise ValueError(f"expected {key} of shape {spec.shape}. Received: {tensors[key].shape}")
    found = {}
    for key, value in function(**tensors).items():
        values = value.numpy()
        found[key] = as_json(key, values.tolist() if hasattr(values, "tolist") else values)  # a scalar string is bytes
    if not by_row:
        return {"outputs": found if len(found) > 1 else next(iter(found.values()))}
    columns = [dict(zip(found, row)) for row in zip(*found.values())]
    return {"predictions": columns if len(found) > 1 else next(iter(found.values()))}


def make_server(base: pathlib.Path, name: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1; port 0 takes a free one."""
    folder = newest(base)
    loaded = tf.saved_model.load(str(folder))  # kept by the class below: signatures alone do not keep the variables

    class Handler(http.server.BaseHTTPRequestHandler):
        model = loaded

        def do_GET(self):
            if self.path not in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{folder.name}"):
                return self.answer(404, {"error": f"expected /v1/models/{name}. Received: {self.path}"})
            state = {"version": folder.name, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            return self.answer(200, {"model_version_status": [state]})

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            body = self.rfile.read(int(length) if length.isdecimal() else 0)
            if not re.fullmatch(rf"/v1/models/{re.escape(name)}(/versions/{folder.name})?:predict", self.path):
                return self.answer(404, {"error": f"expected /v1/models/{name}:predict. Received: {self.path}"})
            try:
                return self.answer(200, predict(self.model.signatures, json.loads(body)))
            except json.JSONDecodeError as error:
                return self.answer(400, {"error": f"expected JSON. Received: {error}"})
            except (ValueError, TypeError, RecursionError, tf.errors.OpError) as error:
                text = " ".join(str(error).split()).rpartition("<stack traces unavailable>")[2]
                text = re.sub(r"\[\[.*|\{\{.*?\}\}|\[Op:.*", "", text).strip()  # where in its graph TensorFlow met it
                if isinstance(error, tf.errors.OpError):
                    text = f"expected inputs that the model can take. TensorFlow: {text}"
                return self.answer(400, {"error": text[:300]})

        def answer(self, status: int, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_base_path", type=pathlib.Path, required=True, help="folder of folders 1, 2, ...")
    parser.add_argument("--model_name", help="in the URL; by default the folder's name")
    parser.add_argument("--port", type=int, default=8501)
    args = parser.parse_args()
    name = args.model_name or args.model_base_path.resolve().name
    try:
        server = make_server(args.model_base_path, name, args.port)
    except (OSError, OverflowError, ValueError) as error:  # a port that is taken or none, a file that is damaged
        raise SystemExit(f"expected a free port and a SavedModel. Received: {' '.join(str(error).split())}") from None
    print(f"http://127.0.0.1:{server.server_port}/v1/models/{name}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
