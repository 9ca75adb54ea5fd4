"""AlexNet."""

from __future__ import annotations

import pytest
import torch
from plain_exporters import assert_same, eager, scripted, traced_onnx, traced_script

from torchport.errors import OptionError, UnknownModelError
from torchport.models.alexnet import AlexNet
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.ports import Signature

TINY = {"num_classes": 10, "width": 0.0625, "image_size": 63}
BATCHES = (1, 2, 4, 5, 7, 9, 11, 16)


@pytest.fixture(scope="module")
def tiny() -> AlexNet:
    return AlexNet(TINY).eval()


def test_the_published_size_has_the_published_weights_under_torchvisions_names():
    with torch.device("meta"):
        model = AlexNet()
    assert model.num_weights == 61_100_840
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == {
        "features.0.weight": (64, 3, 11, 11),
        "features.0.bias": (64,),
        "features.3.weight": (192, 64, 5, 5),
        "features.3.bias": (192,),
        "features.6.weight": (384, 192, 3, 3),
        "features.6.bias": (384,),
        "features.8.weight": (256, 384, 3, 3),
        "features.8.bias": (256,),
        "features.10.weight": (256, 256, 3, 3),
        "features.10.bias": (256,),
        "classifier.1.weight": (4096, 9216),
        "classifier.1.bias": (4096,),
        "classifier.4.weight": (4096, 4096),
        "classifier.4.bias": (4096,),
        "classifier.6.weight": (1000, 4096),
        "classifier.6.bias": (1000,),
    }


@pytest.mark.parametrize("image_size", [63, 64, 95, 127, 224])
def test_any_image_size_from_63_up_fits_the_linear_layers(image_size):
    model = AlexNet({**TINY, "image_size": image_size}).eval()
    assert model(*model.input_example(2)).shape == (2, 10)


def test_a_smaller_image_is_refused():
    with pytest.raises(OptionError) as caught:
        AlexNet({**TINY, "image_size": 62})
    assert str(caught.value) == (
        "declare: the images are too small for the network\n  where: image_size\n  found: 62\n  expected: 63 or more"
    )


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'num_classes'"):
        AlexNet({"num_clases": 3})


@pytest.mark.parametrize("wrong", [{"num_classes": "ten"}, {"num_classes": True}, {"width": None}])
def test_a_setting_of_the_wrong_type_is_refused(wrong):
    with pytest.raises(OptionError, match="has the wrong type"):
        AlexNet(wrong)


def test_one_seed_gives_the_same_weights_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = AlexNet(TINY), AlexNet(TINY)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = AlexNet({**TINY, "seed": 1})
    assert not torch.equal(first.classifier[6].weight, other.classifier[6].weight)


def test_a_saved_network_comes_back(tiny, tmp_path):
    image = tiny.input_example(2)[0]
    restored = ModelPT.restore_from(tiny.save_to(tmp_path / "alexnet.nemo")).eval()
    assert isinstance(restored, AlexNet)
    assert torch.equal(restored(image), tiny(image))


def test_every_listed_model_is_described_as_random_and_can_be_built():
    listed = {info.pretrained_model_name: info for info in AlexNet.list_available_models()}
    assert set(listed) == {"alexnet-random", "alexnet-small-random"}
    assert all("random" in info.description for info in listed.values())
    model = AlexNet.from_pretrained("alexnet-small-random")
    assert not model.training
    assert model.num_weights == 4_593_848


def test_a_model_that_is_not_listed_is_refused():
    with pytest.raises(UnknownModelError, match="alexnet-random"):
        AlexNet.build_pretrained(PretrainedModelInfo("alexnet-huge"))


def test_only_the_batch_is_dynamic(tiny):
    signature = Signature.of(inputs=tiny.input_types, outputs=tiny.output_types)
    assert signature.dynamic_axes() == {"image": {0: "batch"}, "logits": {0: "batch"}}
    assert [axis.size for axis in signature.inputs["image"].axes] == [None, 3, 63, 63]


@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_equals_the_model_at_every_batch(tiny, opset):
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    run = traced_onnx(tiny, "forward", {"image": tiny.input_example()[0]}, axes, ["logits"], opset)
    for batch in BATCHES:
        inputs = {"image": tiny.input_example(batch)[0]}
        assert_same(eager(tiny, "forward", inputs), run(inputs), batch)


@pytest.mark.parametrize("capture", ["trace", "script"])
def test_torchscript_equals_the_model_at_every_batch(tiny, capture):
    run = traced_script(tiny, "forward", {"image": tiny.input_example()[0]}) if capture == "trace" else scripted(tiny, "forward")
    for batch in BATCHES:
        inputs = {"image": tiny.input_example(batch)[0]}
        assert_same(eager(tiny, "forward", inputs), run(inputs), batch)


def test_it_trains():
    model = AlexNet(TINY)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        torch.manual_seed(0)
        loss = torch.nn.functional.cross_entropy(model(*model.input_example(4)), torch.tensor([0, 1, 2, 3]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
