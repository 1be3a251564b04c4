"""Arguments and files in the manner of Orca's programs."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_programs import arrays, estimator, small  # noqa: E402

import bobbin.torch  # noqa: E402


def test_arguments_have_orcas_order_and_names(tmp_path: Path) -> None:
    given = list(inspect.signature(bobbin.Estimator.fit).parameters)[1:]
    assert given[:5] == ["data", "epochs", "batch_size", "feature_cols", "label_cols"]
    assert given[5:] == ["validation_data", "checkpoint_trigger"]
    found = estimator(metrics=[bobbin.torch.Accuracy()])
    found.fit(arrays(), 1, 64, None, None, arrays())
    file = found.save(model_path=tmp_path / "net.safetensors")
    found.load(model_path=file)
    tags = [found.get_validation_summary(tag) for tag in ("Accuracy", "Top1Accuracy")]
    assert len(tags[0]) == 1 and np.array_equal(*tags)
    found.shutdown(force=True)


@pytest.mark.parametrize("form", ["pth", "wrapped.pt", "safetensors"])
def test_a_state_dict_is_loaded(form: str, tmp_path: Path) -> None:
    trained = small()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    file, state = tmp_path / f"net.{form}", trained.state_dict()
    if form == "safetensors":
        write_safetensors(file, state)
    else:
        torch.save({"state_dict": state} if "wrapped" in form else state, file)
    with torch.no_grad():
        expected = trained(torch.from_numpy(arrays()[0]) / 255).numpy()
    before, after = estimator(), estimator()
    after.fit(arrays(), batch_size=64)
    for found in (before, after):
        found.load(file)
        assert np.allclose(found.predict(arrays()[0]), expected, atol=1e-4), form
        assert all(torch.equal(found.get_model().state_dict()[name], state[name]) for name in state)


def write_safetensors(file: Path, state: dict[str, torch.Tensor]) -> None:
    """As the package `safetensors` has it."""
    header, content = {}, b""
    for name, tensor in state.items():
        begin, content = len(content), content + tensor.numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, len(content)]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_a_state_dict_of_another_network_is_refused(tmp_path: Path) -> None:
    state = small().state_dict()
    name = next(iter(state))
    torch.save({other: state[other] for other in state if other != name}, tmp_path / "less.pth")
    torch.save(state | {name: torch.zeros(2)}, tmp_path / "shape.pth")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("nothing of PyTorch")
    (tmp_path / "text.safetensors").write_text("nothing of safetensors")
    found = estimator()
    for file, said in {
        "less.pth": f"`{name}` is not in both the file and the module: expected the same network",
        "shape.pth": rf"`{name}`: found shape \(2,\): expected \(",
        "list.pth": "found no state_dict: expected a dict of tensors",
        "text.pth": "found no file of torch.save",
        "text.safetensors": "text.safetensors",
    }.items():
        with pytest.raises((ValueError, bobbin.Error), match=said) as error:
            found.load(tmp_path / file)
        assert "\n" not in str(error.value)


def test_a_data_set_of_floats_or_several_labels_is_trained_on_as_it_is() -> None:
    images, labels = arrays()
    pixels = images / np.float32(images.max()) * np.float32(3) - np.float32(1)
    data = bobbin.Dataset.from_arrays(pixels, labels)
    losses = []
    for given in (data, (pixels, labels)):
        torch.manual_seed(3)
        losses.append(estimator().fit(given, batch_size=64)[0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    sets = np.eye(10, dtype=np.uint8)[labels]
    found = []
    for given in (bobbin.Dataset.from_arrays(images, sets), (images, sets)):
        torch.manual_seed(3)
        net, loss = small(), torch.nn.BCEWithLogitsLoss()
        several = bobbin.Estimator.from_torch(model=net, loss=loss, optimizer=torch.optim.SGD(net.parameters(), lr=0.05))
        found.append(several.fit(given, batch_size=64)[0]["train_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
