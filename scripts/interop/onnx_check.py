"""An ONNX file beside the model that it was exported from.

    onnx_check.py MODEL.onnx WEIGHTS.safetensors LOGITS

LOGITS is what the example `logits` printed of 1,000 test images. The file must pass ONNX's checker, say what
the weights say, and in ONNX Runtime, in batches of 1, 7 and 1,000, give the same logits (1e-4) and classes; of a model
in bfloat16 nearly the same, as the file is in float32.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open

from fashion import allowed, test_images, worst

TOLERANCE, IMAGES = 1e-4, 1000


def run(path, weights, logits):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape[0], output.name, output.shape[0]) == ("image", "batch", "logits", "batch")
    about = check_metadata(session.get_modelmeta().custom_metadata_map, weights, image.shape[1:], output.shape[1])

    x, expected = test_images(IMAGES), np.loadtxt(logits, dtype=np.float32)
    found = session.run(["logits"], {"image": x})[0]
    for batch in (1, 7):
        parts = [session.run(["logits"], {"image": x[i : i + batch]})[0] for i in range(0, 70, batch)]
        error, _ = worst(np.concatenate(parts), found[:70])
        assert error <= TOLERANCE, f"batches of {batch} are off by {error}"
    error, others = worst(found, expected)
    print(f"{path}: {IMAGES} images in ONNX Runtime, logits within {error:.1e}, {others} other classes")
    most, most_others = allowed(about)
    assert error <= most and others <= most_others
    # What the batch norms of the graph come after.
    return {made_by.get(norm.input[0]) for norm in norms}


def check_metadata(metadata, weights, shape, classes):
    with safe_open(weights, "np") as file:
        about = file.metadata() or {}
    if "model" in about:
        assert json.loads(metadata["classes"]) == json.loads(about["classes"])
        for key in ("model", "input", "normalize.mean", "normalize.std", "precision"):
            assert metadata.get(key) == about.get(key), f"{key}: {metadata.get(key)}, not {about.get(key)}"
    assert metadata["input"] == ",".join(str(n) for n in shape)
    assert len(json.loads(metadata["classes"])) == classes
    for key in ("normalize.mean", "normalize.std"):
        assert all(np.isfinite(float(number)) for number in metadata[key].split(","))
    return about


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    before = run(*sys.argv[1:])
    if "folded" in sys.argv[1]:
        assert not before & {"Conv", "Gemm"}, "a batch norm that was not folded"
