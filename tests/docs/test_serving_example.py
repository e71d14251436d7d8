"""The example service: over HTTP and in a browser; a switch never mixes two models."""

from __future__ import annotations

import base64
import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.browser import CHROMIUM, browser
from helpers.models import TREE
from PIL import Image

import slsgu
from slsgu.models.clip import Clip
from slsgu.patch.patch import Patch

httpx = pytest.importorskip("httpx", reason="needs slsgu[test]")
uvicorn = pytest.importorskip("uvicorn", reason="needs slsgu[test]")
pytest.importorskip("fastapi", reason="needs slsgu[test]")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "serving"
LABELS = [leaf for leaves in TREE.values() for leaf in leaves]


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The modules of the example, imported as its own script does."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import app
        import states

        yield app, states
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in ("app", "states"):
            sys.modules.pop(name, None)


def save_patch(clip: Clip, path: Path, *names: str, shift: float = 0.0, seed: int = 1) -> Patch:
    """A patch that changes every answer.

    Args:
        shift: what is added to the layers it was made for; other than 0 it is foreign.
    """
    parameters = dict(clip.model.named_parameters())
    original = {name: parameters[name].detach().clone() + shift for name in names}
    random = torch.Generator().manual_seed(seed)
    delta = {n: torch.randn(t.shape, generator=random) for n, t in original.items()}
    patch = Patch(delta, original, {"request": {"paths": [f"dog/{path.stem}"]}})
    patch.save(path)
    return patch


@pytest.fixture(scope="module")
def served(
    example: Any, taught_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any]]:
    """The address of a running service, and the service."""
    app, states = example
    folder = tmp_path_factory.mktemp("patches")
    clip = slsgu.load(f"local-dir:{taught_dir}", device="cpu")
    save_patch(clip, folder / "image.safetensors", "visual.proj")
    save_patch(clip, folder / "more.safetensors", "visual.proj", seed=2)
    blocks = "transformer.resblocks"
    save_patch(clip, folder / "text.safetensors", f"{blocks}.1.mlp.c_fc.weight", "text_projection")
    save_patch(clip, folder / "foreign.safetensors", "visual.proj", shift=1.0)
    (folder / "broken.safetensors").write_bytes(b"no patch")
    service = states.Service(clip, LABELS, ["a photo of a {}."], folder)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app.create_app(service, samples=["beagle", "rose"]), log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(served: tuple[str, Any]) -> Iterator[Any]:
    """A client; every patch is off, before and after."""
    address, service = served
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as made:
        yield made
        for name in list(service.state.on):
            made.put(f"/api/patches/{name}", json={"on": False})


@pytest.fixture(scope="module")
def photo(photos: Path) -> bytes:
    return (photos / "images" / "beagle" / "00.png").read_bytes()


def ask(client: Any, photo: bytes) -> Any:
    answer = client.post("/api/label", content=photo)
    assert answer.status_code == 200, answer.text
    return answer.json()


def switch(client: Any, name: str, on: bool) -> Any:
    return client.put(f"/api/patches/{name}", json={"on": on})


# -- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image", "text"])
def test_a_patch_is_switched_on_and_off_without_a_restart(
    client: Any, served: tuple[str, Any], photo: bytes, name: str, taught: Clip
) -> None:
    before = ask(client, photo)
    assert before["before"] == before["after"] and before["on"] == []
    assert before["before"][0]["label"] == "beagle"  # the model knows this one
    assert switch(client, name, True).json() == {"on": [name]}
    during = ask(client, photo)
    assert during["on"] == [name] and during["before"] == before["before"] != during["after"]
    # What it says is what a patched model says that shares nothing with the original.
    with Patch.load(served[1].folder / f"{name}.safetensors").applied(taught.model):
        image = taught.encode_image(taught.preprocess(Image.open(io.BytesIO(photo)))[None])
        texts = taught.encode_text([f"a photo of a {label}." for label in LABELS])
    shares = (taught.model.logit_scale.exp() * image @ texts.T).softmax(dim=-1)[0].tolist()
    pairs = zip(LABELS, shares, strict=True)
    wanted = {label: pytest.approx(share, abs=1e-5) for label, share in pairs}
    assert {x["label"]: x["share"] for x in during["after"]} == wanted
    assert switch(client, name, False).json() == {"on": []}
    assert ask(client, photo) == before


def test_two_patches_of_one_layer_are_added(client: Any, photo: bytes) -> None:
    answers = []
    for on in ({"image"}, {"image", "more"}, {"more"}, set()):
        for name in ("image", "more"):
            assert switch(client, name, name in on).status_code == 200
        answers.append(ask(client, photo)["after"])
    assert len({str(answer) for answer in answers}) == 4


def test_the_original_shares_its_weights_and_keeps_its_bits(
    client: Any, served: tuple[str, Any], taught_dir: Path
) -> None:
    service = served[1]
    switch(client, "image", True)
    original, now = (x.clip.model.state_dict() for x in (service.original, service.state))
    shared = [name for name in original if original[name].data_ptr() == now[name].data_ptr()]
    assert set(original) - set(shared) == {"visual.proj"}
    fresh = slsgu.load(f"local-dir:{taught_dir}", device="cpu").model.state_dict()
    assert all(torch.equal(original[name], fresh[name]) for name in fresh)


def test_every_answer_under_load_is_that_of_one_model(client: Any, photo: bytes) -> None:
    """100 requests at once, while a patch of two layers and one of the image side are switched."""
    kinds = {}
    for names in ((), ("text",), ("image",), ("image", "text")):
        for name in ("image", "text"):
            switch(client, name, name in names)
        kinds[str(list(names))] = ask(client, photo)["after"]
    assert len({str(kind) for kind in kinds.values()}) == 4  # control: they can be told apart
    done = threading.Event()

    def flip() -> int:
        count = 0
        while not done.is_set():
            for name in ("image", "text"):
                assert switch(client, name, count % 2 == 0).status_code == 200
            count += 1
        return count

    with ThreadPoolExecutor(101) as pool:
        flipping = pool.submit(flip)
        answers = list(pool.map(lambda _: ask(client, photo), range(100)))
        done.set()
        assert flipping.result() > 1
    assert len(answers) == 100
    for answer in answers:
        assert answer["after"] == kinds[str(answer["on"])]
    assert len({str(answer["on"]) for answer in answers}) > 1  # control: it was switched meanwhile


# -- refusals ---------------------------------------------------------------------------------


def test_foreign_and_broken_patches_are_refused_with_the_reason(
    client: Any, served: tuple[str, Any], photo: bytes
) -> None:
    before = ask(client, photo)
    listed = {each["name"]: each for each in client.get("/api/patches").json()["patches"]}
    assert set(listed) == {"broken", "foreign", "image", "more", "text"}
    assert (
        "other weights" in listed["foreign"]["refused"] and "damaged" in listed["broken"]["refused"]
    )
    assert listed["image"]["refused"] is None and listed["image"]["forgets"] == ["dog/image"]
    for name, reason in (("foreign", "other weights"), ("broken", "damaged")):
        answer = switch(client, name, True)
        assert answer.status_code == 409 and reason in answer.json()["detail"]
        assert str(served[1].folder) not in answer.text  # no path of the server
    for name in ("nothing", "..%2Fimage", "image.safetensors"):
        assert switch(client, name, True).status_code == 404
        assert switch(client, name, False).status_code == 404
    assert client.put("/api/patches/image", json={"on": "maybe"}).status_code == 422
    assert ask(client, photo) == before


def test_a_new_file_is_found_and_a_lost_one_can_be_switched_off(
    client: Any, served: tuple[str, Any], photo: bytes
) -> None:
    service = served[1]
    before = ask(client, photo)
    save_patch(service.original.clip, service.folder / "late.safetensors", "visual.proj", seed=9)
    assert switch(client, "late", True).status_code == 200
    (service.folder / "late.safetensors").unlink()
    assert ask(client, photo)["on"] == ["late"]
    assert switch(client, "late", False).status_code == 200 and ask(client, photo) == before


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def noise() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()


NOISE = noise()


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 400, "no body"),
        (b"GIF89a", 422, "cannot be used as a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "not a picture"),
        (b"%!PS-Adobe", 422, "not a picture"),
        (b"\0" * (11 << 20), 413, "more than 10 MiB"),
        (png(8000, 8000), 413, "more than 40,000,000 pixels"),
        (png(20_000, 20_000), 422, "claims more than 89,478,485 pixels"),
        (png(1, 5000), 422, "times as long as wide"),
        (NOISE[: len(NOISE) // 2], 422, "cannot be used"),
    ],
    ids=["empty", "cut", "svg", "ps", "large", "pixels", "bomb", "thin", "half"],
)  # fmt: skip
def test_hostile_uploads_get_a_reason(client: Any, data: bytes, status: int, reason: str) -> None:
    def in_pieces() -> Iterator[bytes]:
        yield from (data[i : i + (1 << 16)] for i in range(0, len(data), 1 << 16))

    for content in (data, in_pieces()):  # with a length that is known, and without
        try:
            answer = client.post("/api/label", content=content)
        except httpx.WriteError:  # the service hung up on what was still to come
            assert status == 413
            continue
        assert answer.status_code == status and reason in answer.json()["detail"]
    for whole in (NOISE, png(40, 30)):  # control
        assert client.post("/api/label", content=whole).status_code == 200


def test_other_sites_cannot_reach_it_and_the_page_fetches_from_here_alone(client: Any) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    answer = client.get("/")
    assert (
        answer.status_code == 200
        and "default-src 'self'" in answer.headers["content-security-policy"]
    )
    for path in sorted((EXAMPLE / "static").iterdir()):
        assert "http://" not in path.read_text() and "https://" not in path.read_text()
    assert client.get("/static/%2e%2e/app.py").status_code == 404


# -- the page ---------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_before_and_after(
    client: Any, served: tuple[str, Any], photo: bytes, tmp_path: Path
) -> None:
    def text(place: str) -> str:
        return str(page.run(f"document.querySelector('{place}').innerText"))

    with browser(tmp_path / "profile") as page:
        page.open(served[0])
        page.wait("document.body && document.body.dataset.ready")
        assert "zero-shot among 4 classes" in text("#about")
        page.run("document.querySelector('#samples button').click()")
        page.wait("document.body.dataset.answers === '1'")
        assert page.run("document.querySelector('#preview').naturalWidth") > 0
        drawing = text("#before")
        coded = base64.b64encode(photo).decode()
        content = f"Uint8Array.from(atob('{coded}'), c => c.charCodeAt(0))"
        page.run(f"show(new Blob([{content}]))")
        page.wait("document.body.dataset.answers === '2'")
        first = text("#before")
        assert first == text("#after") != drawing and first.startswith("beagle")
        rows = "[...document.querySelectorAll('#patches li')]"
        box = f"{rows}.find(x => x.innerText.startsWith('NAME'))"
        image = box.replace("NAME", "image")
        page.run(f"{image}.querySelector('input').click()")
        page.wait("document.body.dataset.answers === '3'")
        assert text("#before") == first != text("#after") and text("#state") == "image"
        assert served[1].state.on.keys() == {"image"}
        # A foreign one cannot be clicked, and says why.
        foreign = box.replace("NAME", "foreign")
        assert page.run(f"{foreign}.querySelector('input').disabled")
        assert "Cannot be used with this model" in page.run(f"{foreign}.innerText")
        assert "other weights" in page.run(f"{foreign}.querySelector('details p').textContent")
        page.run(f"{image}.querySelector('input').click()")
        page.wait("document.body.dataset.answers === '4'")
        assert text("#after") == first and text("#state") == "no patch"
        # What is no picture is told, and the page goes on.
        page.run("show(new Blob(['no picture']))")
        page.wait("!document.querySelector('#error').hidden")
        assert "cannot be used as a picture" in text("#error")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_hundred_requests_of_the_page_while_it_switches(
    client: Any, served: tuple[str, Any], photo: bytes, tmp_path: Path
) -> None:
    """All from the browser: each answer is that of the original or of the patched model."""
    kinds = {}
    for name in ("text", None):
        if name is not None:
            switch(client, name, True)
        kinds[str([] if name is None else [name])] = ask(client, photo)["after"]
        switch(client, "text", False)
    coded = base64.b64encode(photo).decode()
    script = f"""(async () => {{
      const body = new Blob([Uint8Array.from(atob('{coded}'), c => c.charCodeAt(0))]);
      let going = true, flips = 0;
      const flip = (async () => {{
        while (going) {{
          const wanted = {{method: 'PUT', headers: {{'Content-Type': 'application/json'}},
                           body: JSON.stringify({{on: flips++ % 2 === 0}})}};
          const done = await fetch('/api/patches/text', wanted);
          if (!done.ok) throw new Error(done.status);
        }}
      }})();
      // A browser has six connections to a server, which are taken in turn: one is for the switch.
      const answers = [], states = new Set();
      const five = Array.from({{length: 5}}, async () => {{
        while (answers.length < 100 || (states.size < 2 && answers.length < 1000)) {{
          const response = await fetch('/api/label', {{method: 'POST', body}});
          answers.push(await response.json());
          states.add(String(answers.at(-1).on));
        }}
      }});
      await Promise.all(five);
      going = false;
      await flip;
      return {{answers, flips}};
    }})()"""
    with browser(tmp_path / "profile") as page:
        page.open(served[0])
        page.wait("document.body && document.body.dataset.ready")
        found = page.run(script)
    assert len(found["answers"]) >= 100 and found["flips"] > 1
    for answer in found["answers"]:
        assert answer["after"] == kinds[str(answer["on"])]
    assert len({str(answer["on"]) for answer in found["answers"]}) == 2  # control
