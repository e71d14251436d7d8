"""What `applied` refuses, and that refusing leaves no trace."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest
import torch
from torch import nn

from slsgu.errors import LayerMismatchError
from slsgu.patch import live
from slsgu.patch.patch import Patch


class Half(nn.Module):
    """Two layers in half precision, with a negative zero, which only bits tell from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, -0.0]).half())
        self.b = nn.Parameter(torch.tensor([3.0, 4.0]).half())


def bits(model: nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def patch(model: Half, size: float) -> Patch:
    """A small change of `a`, and one of this size of `b`."""
    original = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    return Patch({"a": torch.ones(2), "b": torch.full((2,), size)}, original)


def test_a_step_that_half_precision_cannot_hold_is_refused_before_anything_is_changed() -> None:
    model, untouched = Half(), bits(Half())
    for use in (patch(model, 1e5).apply, lambda m: patch(m, 1e5).applied(m).__enter__()):
        with pytest.raises(LayerMismatchError, match=r"takes b out of the range of float16"):
            use(model)
        assert bits(model) == untouched
    # Control: a smaller step goes in, and every bit comes back.
    with patch(model, 1e4).applied(model):
        assert bits(model) != untouched and bool(model.b.isfinite().all())
    assert bits(model) == untouched


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_whatever_ends_the_block_the_bits_come_back(error: type[BaseException]) -> None:
    model = Half()
    with pytest.raises(error), patch(model, 1.0).applied(model):
        assert bits(model) != bits(Half())
        raise error
    assert bits(model) == bits(Half())


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_while_weights_are_written_leaves_none_behind(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the two layers: of the patch on the way in, of the original on the way out."""
    model, calls = Half(), 0
    write = live.write_weights

    def interrupted(tensors: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            write(tensors, dict(list(values.items())[:1]))
            raise KeyboardInterrupt
        write(tensors, values)

    monkeypatch.setattr(live, "write_weights", interrupted)
    with pytest.raises(KeyboardInterrupt), patch(model, 1.0).applied(model):
        pass
    assert bits(model) == bits(Half()) and calls > at  # control: there was something to finish


def over(model: Half, size: float) -> Patch:
    """A change of `a` as it is now."""
    return Patch({"a": torch.full((2,), size)}, {"a": model.a.detach().clone()})


def test_patches_of_two_layers_nest_in_any_order() -> None:
    model = Half()
    a = Patch({"a": torch.ones(2)}, {"a": model.a.detach().clone()})
    b = Patch({"b": torch.ones(2)}, {"b": model.b.detach().clone()})
    one, two = a.applied(model), b.applied(model)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert model.a.tolist() == [1.0, 0.0] and model.b.tolist() == [4.0, 5.0]
    two.__exit__(None, None, None)
    assert bits(model) == bits(Half())


def test_a_patch_of_a_patched_layer_nests_and_a_second_one_of_the_original_does_not() -> None:
    model = Half()
    first = over(model, 1.0)
    with first.applied(model):
        inner = bits(model)
        with pytest.raises(LayerMismatchError, match="applied already"), first.applied(model):
            pass
        with pytest.raises(LayerMismatchError, match="slsgu patch merge"):
            with (2.0 * first).applied(model):
                pass
        with over(model, 2.0).applied(model):
            assert model.a.tolist() == [4.0, 3.0]
        assert bits(model) == inner
    assert bits(model) == bits(Half())


def test_blocks_left_out_of_order_say_so_and_the_bits_come_back_in_the_end() -> None:
    model = Half()
    outer = over(model, 1.0).applied(model)
    outer.__enter__()
    inner = over(model, 2.0).applied(model)
    inner.__enter__()
    top = bits(model)
    with pytest.raises(LayerMismatchError, match="leave the inner `with` first"):
        outer.__exit__(None, None, None)
    assert bits(model) == top  # as it was, not something between
    inner.__exit__(None, None, None)
    assert bits(model) == bits(Half())
    # Control: the right order says nothing.
    with contextlib.ExitStack() as stack:
        stack.enter_context(over(model, 1.0).applied(model))
        stack.enter_context(over(model, 2.0).applied(model))
    assert bits(model) == bits(Half())


def test_three_blocks_left_in_the_wrong_order_leave_no_trace() -> None:
    model = Half()
    blocks = []
    for size in (1.0, 2.0, 4.0):
        blocks.append(over(model, size).applied(model))
        blocks[-1].__enter__()
    for place in (1, 0):  # the middle one first
        with pytest.raises(LayerMismatchError):
            blocks[place].__exit__(None, None, None)
    blocks[2].__exit__(None, None, None)
    assert bits(model) == bits(Half())


def test_threads_that_apply_the_same_patch_refuse_each_other() -> None:
    model, refused = Half(), []
    shared, start = patch(model, 1.0), threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(50):
            try:
                with shared.applied(model):
                    pass
            except LayerMismatchError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bits(model) == bits(Half())
    assert all("applied already" in each for each in refused)


def test_a_model_that_was_patched_can_be_forgotten() -> None:
    model = Half()
    with patch(model, 1.0).applied(model):
        pass
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
