from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.ports import Port, Signature, make_inputs


def other_sizes(declared: dict[str, object], example: dict[str, torch.Tensor], seed: int = 0, **sizes: int) -> dict[str, torch.Tensor]:
    return make_inputs(Signature.of(inputs=declared).resolved(example), sizes, example=example, seed=seed)


@pytest.mark.parametrize("size", [1, 2, 5, 23])
def test_values_are_drawn_from_those_seen(size: int) -> None:
    example = {"x": torch.tensor([[3.5, -1.0, 7.0, 2.5, 9.0]]), "ids": torch.tensor([[4, 40, 13]])}
    made = other_sizes({"x": "batch time", "ids": "batch tokens"}, example, batch=3, time=size, tokens=size)
    assert made["x"].shape == (3, size)
    assert set(made["x"].unique().tolist()) <= set(example["x"].unique().tolist())
    assert set(made["ids"].unique().tolist()) <= {4, 13, 40}
    assert made["ids"].dtype == torch.int64


def test_slices_of_static_axes_stay_whole() -> None:
    onehot = torch.nn.functional.one_hot(torch.tensor([[0, 3, 2, 1]]), 5).float()
    made = other_sizes({"x": "batch time 5"}, {"x": onehot}, batch=2, time=4)["x"]
    assert made.sum(-1).unique().tolist() == [1.0]
    assert made.shape == (2, 4, 5)


def test_every_cell_of_the_example_is_used_before_one_is_used_twice() -> None:
    made = other_sizes({"x": "time"}, {"x": torch.tensor([5.0, 1.0, 3.0])}, time=6)["x"]
    assert sorted(made.tolist()) == [1, 1, 3, 3, 5, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measured_numbers_do_not_tie_where_there_are_more_of_them_than_in_the_example(dtype: torch.dtype) -> None:
    example = torch.rand(3, 37, dtype=dtype)
    made = other_sizes({"x": "batch time"}, {"x": example}, batch=2, time=371)["x"]
    assert made.dtype == dtype
    assert len(made.unique()) == made.numel()
    assert example.min() <= made.min()
    assert made.max() <= example.max()
    assert set(example.flatten().tolist()) <= set(made.flatten().tolist())


def test_labels_and_shares_stay_what_they_are_however_many_are_needed() -> None:
    labels = torch.randint(0, 4, (2, 20)).float() / 2
    shares = torch.rand(2, 20, 6).softmax(-1)
    made = other_sizes({"x": "batch time", "p": "batch time 6"}, {"x": labels, "p": shares}, batch=3, time=90)
    assert set(made["x"].unique().tolist()) <= {0, 0.5, 1, 1.5}
    torch.testing.assert_close(made["p"].sum(-1), torch.ones(3, 90))


def test_times_that_go_up_at_every_step_still_do() -> None:
    made = other_sizes({"t": "batch time"}, {"t": torch.rand(1, 12).cumsum(1)}, batch=2, time=50)["t"]
    assert bool((made.diff(dim=1) > 0).all())


def test_offsets_go_up_and_begin_at_nothing() -> None:
    made = other_sizes({"offsets": "batch"}, {"offsets": torch.tensor([0, 4, 9, 15])}, batch=2)["offsets"]
    assert made.tolist() in ([0, 4], [0, 9], [0, 15])


@pytest.mark.parametrize("nodes", [1, 2, 7, 100])
def test_numbers_that_point_into_an_axis_stay_below_its_size(nodes: int) -> None:
    example = {"x": torch.randn(7, 3), "edges": torch.tensor([[0, 1, 5, 6], [6, 2, 2, 0]])}
    signature = Signature.of(inputs={"x": "nodes 3", "edges": "2 edges"}).resolved(example)
    made = make_inputs(signature, {"nodes": nodes, "edges": 30}, example=example, pointers={"edges": "nodes", "missing": "nodes"})["edges"]
    assert (made.shape, made.dtype) == ((2, 30), torch.int64)
    assert int(made.min()) == 0
    assert int(made.max()) == nodes - 1


def test_rows_made_of_one_row_differ() -> None:
    made = other_sizes({"img": "batch 3 8 8"}, {"img": torch.randn(1, 3, 8, 8)}, batch=4)["img"]
    assert made.shape == (4, 3, 8, 8)
    assert all(not torch.equal(made[0], made[row]) for row in range(1, 4))


def test_whole_numbers_without_a_dynamic_axis_are_those_of_the_example() -> None:
    example = {"k": torch.tensor([7, 9]), "x": torch.randn(2, 3)}
    assert other_sizes({"k": "2", "x": "batch 3"}, example, batch=5)["k"].tolist() == [7, 9]


def test_the_leading_axis_may_be_static_and_a_later_one_the_batch() -> None:
    made = other_sizes({"h": "2 batch 16"}, {"h": torch.randn(2, 1, 16)}, batch=3)["h"]
    assert made.shape == (2, 3, 16)
    assert not torch.equal(made[:, 0], made[:, 1])


@pytest.mark.parametrize("name", ["lengths", "x_len", "something"])
def test_lengths_are_recognised_and_stay_within_their_axis(name: str) -> None:
    example = {"x": torch.randn(2, 80, 37), name: torch.tensor([37, 20])}
    for size in (3, 50, 200):
        made = other_sizes({"x": "batch 80 time", name: "batch"}, example, batch=6, time=size)
        assert int(made[name][0]) == size
        assert 1 <= int(made[name].min()) < size
        assert made[name].dtype == torch.int64


def test_labels_are_no_lengths() -> None:
    example = {"x": torch.randn(2, 80, 37), "speaker": torch.tensor([4, 2])}
    made = other_sizes({"x": "batch 80 time", "speaker": "batch"}, example, batch=6, time=50)
    assert set(made["speaker"].tolist()) <= {2, 4}


def test_lengths_named_so_may_be_shorter_than_their_axis_and_keep_the_ratio() -> None:
    example = {"x": torch.randn(2, 40), "x_lens": torch.tensor([10, 5])}
    assert int(other_sizes({"x": "batch time", "x_lens": "batch"}, example, batch=3, time=80)["x_lens"].max()) == 20


def test_fractions_are_recognised_as_lengths_where_the_name_says_so() -> None:
    example = {"x": torch.randn(2, 40), "wav_lens": torch.tensor([1.0, 0.5]), "gain": torch.tensor([1.0, 0.5])}
    made = other_sizes({"x": "batch time", "wav_lens": "batch", "gain": "batch"}, example, batch=30, time=50)
    assert float(made["wav_lens"][0]) == 1
    assert len(made["wav_lens"].unique()) > 3
    assert set(made["gain"].tolist()) == {0.5, 1.0}


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_attention_masks_are_recognised_and_agree_with_lengths(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).to(dtype)
    example = {"ids": torch.randint(5, 9, (2, 4)), "attention_mask": mask, "ids_len": torch.tensor([4, 2])}
    made = other_sizes({"ids": "batch time", "attention_mask": "batch time", "ids_len": "batch"}, example, batch=5, time=9)
    assert made["attention_mask"].sum(1).tolist() == made["ids_len"].tolist()
    assert made["attention_mask"].dtype == dtype


def test_a_mask_of_ones_is_made_ragged_too() -> None:
    example = {"input_ids": torch.randint(5, 9, (1, 4)), "attention_mask": torch.ones(1, 4).long()}
    made = other_sizes({"input_ids": "batch time", "attention_mask": "batch time"}, example, batch=5, time=9)["attention_mask"]
    assert len(made.sum(1).unique()) > 1
    assert bool((made.diff(dim=1) <= 0).all())


def test_a_padding_mask_keeps_its_polarity() -> None:
    example = {"x": torch.randn(2, 4, 8), "x_mask": torch.tensor([[False] * 4, [False, False, True, True]])}
    made = other_sizes({"x": "batch time 8", "x_mask": "batch time"}, example, batch=5, time=9)["x_mask"]
    assert not bool(made[0].any())
    assert bool(made.any())
    assert bool((made.long().diff(dim=1) >= 0).all())


def test_an_additive_mask_keeps_minus_infinity() -> None:
    mask = torch.tensor([[0.0, 0.0, float("-inf")]])
    made = other_sizes({"x": "batch time 8", "x_mask": "batch time"}, {"x": torch.randn(1, 3, 8), "x_mask": mask}, batch=3, time=6)[
        "x_mask"
    ]
    assert set(made.unique().tolist()) == {0.0, float("-inf")}
    assert not bool(made.isinf().all(dim=1).any())
    zeros = other_sizes(
        {"x": "batch time 8", "x_mask": "batch time"}, {"x": torch.randn(1, 3, 8), "x_mask": torch.zeros(1, 3)}, batch=3, time=6
    )
    assert bool((zeros["x_mask"][0] == 0).all())


@pytest.mark.parametrize("values", [(1.0, 0.0), (0.0, float("-inf"))])
def test_a_causal_mask_stays_causal(values: tuple[float, float]) -> None:
    lower = torch.ones(4, 4).tril().bool()
    example = {"x": torch.randn(2, 4, 8), "mask": torch.where(lower, *map(torch.tensor, values)).expand(2, 1, 4, 4).contiguous()}
    made = other_sizes({"x": "batch time 8", "mask": "batch 1 time time"}, example, batch=3, time=6)["mask"]
    assert made.shape == (3, 1, 6, 6)
    assert torch.equal(made[0, 0] == values[0], torch.ones(6, 6).tril().bool())


def test_positions_count_on_from_where_they_start() -> None:
    made = other_sizes({"position_ids": "batch time"}, {"position_ids": torch.arange(2, 7).expand(2, 5)}, batch=3, time=9)
    assert made["position_ids"].tolist() == [list(range(2, 11))] * 3


def test_sorted_values_stay_sorted() -> None:
    made = other_sizes({"t": "batch time"}, {"t": torch.tensor([[0.0, 0.5, 0.6, 2.0]])}, batch=3, time=9)["t"]
    assert bool((made.diff(dim=1) >= 0).all())


def test_ports_that_no_example_shows_get_small_numbers() -> None:
    signature = Signature.of(
        inputs={"x": ("batch 3", "float32"), "k": ("batch", "int64"), "c": ("batch", "complex64"), "b": ("batch", "bool")}
    )
    made = make_inputs(signature, {"batch": 20})
    assert set(made["k"].tolist()) == {0, 1}
    assert [str(one.dtype) for one in made.values()] == ["torch.float32", "torch.int64", "torch.complex64", "torch.bool"]


def test_an_example_of_another_rank_or_of_no_elements_only_lends_its_dtype() -> None:
    signature = Signature.of(inputs={"x": "batch 3", "e": "batch"})
    made = make_inputs(signature, {"batch": 2}, example={"x": torch.zeros(2, dtype=torch.float64), "e": torch.zeros(0)})
    assert (made["x"].shape, made["x"].dtype, made["e"].shape) == ((2, 3), torch.float64, (2,))


def test_an_empty_axis_can_be_made() -> None:
    made = make_inputs(
        Signature.of(inputs={"cache": "batch past{min=0} 4"}), {"batch": 2, "past": 0}, example={"cache": torch.randn(1, 3, 4)}
    )
    assert made["cache"].shape == (2, 0, 4)


def test_scalars_stay_as_they_are() -> None:
    assert float(other_sizes({"alpha": "", "x": "batch"}, {"alpha": torch.tensor(0.5), "x": torch.zeros(3)}, batch=2)["alpha"]) == 0.5


def test_lengths_of_typed_ports_serve_the_masks_of_plain_ones() -> None:
    from torchport.types import LengthsType

    signature = Signature.of(inputs={"x": "batch time", "x_len": Port("batch", element=LengthsType()), "x_mask": "batch time"})
    example = {"x": torch.randn(2, 6), "x_len": torch.tensor([6, 3]), "x_mask": torch.tensor([[1.0] * 6, [1.0] * 3 + [0.0] * 3])}
    made = make_inputs(signature, {"batch": 4, "time": 9}, example=example)
    assert made["x_mask"].sum(1).tolist() == made["x_len"].tolist()


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 20), st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_any_sizes_give_tensors_of_those_sizes_with_valid_lengths(b0: int, t0: int, b1: int, t1: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, t0 + 1, (b0,), generator=generator)
    example = {"x": torch.randn(b0, t0, 3, generator=generator), "x_lengths": lengths, "x_mask": (torch.arange(t0) < lengths[:, None])}
    made = other_sizes({"x": "batch time 3", "x_lengths": "batch", "x_mask": "batch time"}, example, seed=seed, batch=b1, time=t1)
    assert (made["x"].shape, made["x_lengths"].shape, made["x_mask"].shape) == ((b1, t1, 3), (b1,), (b1, t1))
    assert 1 <= int(made["x_lengths"].min()) <= int(made["x_lengths"].max()) <= t1
    assert torch.isin(made["x"], example["x"]).all() or b1 * t1 > b0 * t0
    assert example["x"].min() <= made["x"].min() <= made["x"].max() <= example["x"].max()
